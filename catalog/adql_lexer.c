/* Words, numbers, strings and signs of a query. Source: ADQL 2.0, appendix A. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "catalog/adql_tree.h"

struct lexer {
    const char *query, *p;
    struct token *tokens;
    int n;
    char *texts;             /* where the next token's text goes: room for each byte of the query and its NUL */
    struct error *err;
};

enum err adql_error(struct error *err, const char *query, int at, const char *fmt, ...)
{
    int line = 1, column = 1;
    char message[400];
    for (int i = 0; i < at && query[i]; i++) {
        if (query[i] == '\n') line++, column = 1;
        else if (((unsigned char)query[i] & 0xc0) != 0x80) column++;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return ERROR(err, ERR_USAGE, "line %d, column %d: %s", line, column, message);
}

static enum err wrong(struct lexer *x, const char *at, const char *what)
{
    return ADQL_ERROR(x->err, x->query, (int)(at - x->query), "%s", what);
}

/* Bytes of the UTF-8 character at p, 0: none. */
static int utf8_length(const unsigned char *p)
{
    if (p[0] < 0x80) return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) return (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80) return 0;
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
        return 3;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80) return 0;
        if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
        return 4;
    }
    return 0;
}

static enum err check_bytes(struct lexer *x)
{
    for (const char *p = x->query; *p;) {
        int n = utf8_length((const unsigned char *)p);
        if (!n) return wrong(x, p, "this byte is not UTF-8");
        if ((unsigned char)*p < 32 && !strchr("\t\r\n\f\v", *p)) return wrong(x, p, "a control character");
        p += n;
        if (p - x->query > ADQL_LENGTH_MAX)
            return ERROR(x->err, ERR_USAGE, "the query is longer than %d bytes", ADQL_LENGTH_MAX);
    }
    return ERR_OK;
}

static enum err add(struct lexer *x, enum token_kind kind, const char *at, const char *text, size_t length)
{
    memmove(x->texts, text, length); /* a string was unquoted in place */
    x->texts[length] = 0;
    x->tokens[x->n++] = (struct token){kind, (int)(at - x->query), x->texts};
    x->texts += length + 1;
    return ERR_OK;
}

/* '...' or "..." with the quote doubled inside; as SQL does, 'a' 'b' on lines of their own are not joined. */
static enum err quoted(struct lexer *x, enum token_kind kind)
{
    const char *start = x->p, quote = *x->p, *end = x->p + 1;
    while (*end && (*end != quote || end[1] == quote)) end += *end == quote ? 2 : 1;
    if (!*end) return wrong(x, start, quote == '\'' ? "this string has no end" : "this quoted name has no end");
    char *text = x->texts;
    size_t n = 0;
    for (x->p++; x->p < end; x->p++) {
        if (*x->p == quote) x->p++; /* a doubled one */
        text[n++] = *x->p;
    }
    x->p++;
    if (kind == TOKEN_QUOTED && n == 0) return wrong(x, start, "a name in quotes is empty");
    return add(x, kind, start, text, n);
}

static enum err number(struct lexer *x)
{
    const char *start = x->p;
    bool integer = true;
    if (x->p[0] == '0' && (x->p[1] | 32) == 'x' && isxdigit((unsigned char)x->p[2])) {
        for (x->p += 2; isxdigit((unsigned char)*x->p);) x->p++;
    } else {
        while (isdigit((unsigned char)*x->p)) x->p++;
        if (*x->p == '.') {
            integer = false;
            for (x->p++; isdigit((unsigned char)*x->p);) x->p++;
        }
        if ((*x->p | 32) == 'e') {
            const char *e = x->p + 1;
            if (*e == '+' || *e == '-') e++;
            if (isdigit((unsigned char)*e)) {
                integer = false;
                while (isdigit((unsigned char)*e)) e++;
                x->p = e;
            }
        }
    }
    if (isalnum((unsigned char)*x->p) || *x->p == '_') return wrong(x, start, "a number runs into a name here");
    return add(x, integer ? TOKEN_INTEGER : TOKEN_DECIMAL, start, start, (size_t)(x->p - start));
}

static enum err symbol(struct lexer *x)
{
    static const char *const symbols[] = {"<>", "<=", ">=", "!=", "||", "(", ")", ",", ".", "*", "/", "+", "-", "=", "<", ">", "&", "|", "^", "~", ";"};
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (!strncmp(x->p, symbols[i], strlen(symbols[i]))) {
            const char *at = x->p;
            x->p += strlen(symbols[i]);
            if (*at == '=' && *x->p == '=') {
                wrong(x, at, "'==' is not an operator of ADQL");
                error_hint(x->err, "write =");
                return ERR_USAGE;
            }
            return add(x, TOKEN_SYMBOL, at, symbols[i], strlen(symbols[i]));
        }
    static const char *const curly[] = {"\u2018", "\u2019", "\u201c", "\u201d", "\u00b4", "`"};
    for (size_t i = 0; i < sizeof curly / sizeof *curly; i++)
        if (!strncmp(x->p, curly[i], strlen(curly[i]))) {
            wrong(x, x->p, "this quote is not one of ADQL's");
            error_hint(x->err, "strings stand in 'straight quotes', names in \"double quotes\"");
            return ERR_USAGE;
        }
    char text[64];
    snprintf(text, sizeof text, "'%.*s' has no meaning here", utf8_length((const unsigned char *)x->p), x->p);
    wrong(x, x->p, text);
    if (*x->p == '[' || *x->p == ']') error_hint(x->err, "ADQL has no arrays; names in \"double quotes\"");
    if (*x->p == '%') error_hint(x->err, "MOD(x, y) gives the remainder");
    return ERR_USAGE;
}

static enum err next(struct lexer *x)
{
    unsigned char c = (unsigned char)*x->p;
    if (isspace(c)) {
        x->p++;
        return ERR_OK;
    }
    if (c == '-' && x->p[1] == '-') {
        x->p += strcspn(x->p, "\n");
        return ERR_OK;
    }
    if (c == '/' && x->p[1] == '*') {
        wrong(x, x->p, "'/*' does not begin a comment in ADQL");
        error_hint(x->err, "comments run from -- to the end of the line");
        return ERR_USAGE;
    }
    if (isalpha(c) || c == '_') {
        const char *start = x->p;
        while (isalnum((unsigned char)*x->p) || *x->p == '_') x->p++;
        return add(x, TOKEN_WORD, start, start, (size_t)(x->p - start));
    }
    if (isdigit(c) || (c == '.' && isdigit((unsigned char)x->p[1]))) return number(x);
    if (c == '\'') return quoted(x, TOKEN_STRING);
    if (c == '"') return quoted(x, TOKEN_QUOTED);
    return symbol(x);
}

enum err adql_tokens(const char *query, struct arena *arena, struct token **ret, int *ret_n, struct error *err)
{
    struct lexer x = {.query = query, .p = query, .err = err};
    enum err e = check_bytes(&x);
    size_t length = e ? 0 : strlen(query);
    x.tokens = arena_array(arena, length + 1, sizeof *x.tokens);
    x.texts = arena_alloc(arena, 2 * length + 2);
    if (!e && (!x.tokens || !x.texts)) return ERROR(err, ERR_NOMEM, "could not get memory for a query");
    while (!e && *x.p) e = next(&x);
    if (!e) e = add(&x, TOKEN_END, x.p, "", 0);
    if (e) return e;
    *ret = x.tokens;
    *ret_n = x.n;
    return ERR_OK;
}
