/* Recursive descent; expressions by precedence climbing.
 *
 *     OR < AND < NOT < comparison, BETWEEN, IN, LIKE, IS < & | ^ < + - || < * / < sign
 *
 * Words that are reserved in SQL 92 but play no part in the grammar may be names here ("AS distance" is common).
 * Source: ADQL 2.0, appendix A; ADQL 2.1 for WITH, OFFSET, set operations, ILIKE, CAST, bits.                        */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/adql_tree.h"
#include "common/text.h"

#define EXPRESSION_DEPTH_MAX 200
#define PARTS_MAX 100 /* joins, set operations, common tables of one query */

struct parser {
    struct adql_context *c;
    const struct token *t; /* the next one */
};

static enum err parse_query(struct parser *p, struct adql_query **ret);
static enum err parse_expression(struct parser *p, int level, struct adql_node **ret);

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

static const char *const structural[] = {
    "SELECT", "FROM", "WHERE", "GROUP", "BY", "HAVING", "ORDER", "UNION", "EXCEPT", "INTERSECT", "ALL", "DISTINCT", "AS", "ON", "USING",
    "JOIN", "INNER", "LEFT", "RIGHT", "FULL", "OUTER", "CROSS", "NATURAL", "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "ILIKE", "IS", "NULL",
    "EXISTS", "CASE", "WHEN", "THEN", "ELSE", "END", "CAST", "WITH", "OFFSET", "LIMIT", "ASC", "DESC"};

static bool word(const struct parser *p, const char *w)
{
    return p->t->kind == TOKEN_WORD && !strcasecmp(p->t->text, w);
}

static bool word_after(const struct parser *p, const char *w)
{
    return p->t->kind != TOKEN_END && p->t[1].kind == TOKEN_WORD && !strcasecmp(p->t[1].text, w);
}

static bool take_word(struct parser *p, const char *w)
{
    if (!word(p, w)) return false;
    p->t++;
    return true;
}

static bool symbol_is(const struct token *t, const char *s)
{
    return t->kind == TOKEN_SYMBOL && !strcmp(t->text, s);
}

static bool take_symbol(struct parser *p, const char *s)
{
    if (!symbol_is(p->t, s)) return false;
    p->t++;
    return true;
}

static bool is_structural(const struct token *t)
{
    if (t->kind != TOKEN_WORD) return false;
    for (size_t i = 0; i < sizeof structural / sizeof *structural; i++)
        if (!strcasecmp(structural[i], t->text)) return true;
    return false;
}

static bool is_name(const struct token *t)
{
    return t->kind == TOKEN_QUOTED || (t->kind == TOKEN_WORD && !is_structural(t));
}

/* What people type who know another dialect. */
static void hint_for(struct parser *p, const char *expected)
{
    static const struct { const char *word, *hint; } known[] = {
        {"LIMIT", "ADQL has no LIMIT: write SELECT TOP n ..."},
        {"FETCH", "write SELECT TOP n ..."},
        {"ESCAPE", "LIKE of ADQL has no ESCAPE"},
        {"NULLS", "NULL comes last when ascending, first when descending"},
        {"RECURSIVE", "WITH is not recursive"},
        {"OVER", "ADQL has no window functions"},
        {"RLIKE", "write LIKE with % and _, or ILIKE"}, {"REGEXP", "write LIKE with % and _, or ILIKE"},
        {"TOP", "TOP n stands right after SELECT [DISTINCT]"},
        {"INTO", "queries read only"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (word(p, known[i].word)) error_hint(p->c->err, "%s", known[i].hint);
    if (is_structural(p->t) && strstr(expected, "name"))
        error_hint(p->c->err, "'%.40s' is a word of the language; as a name write \"%.40s\"", p->t->text, p->t->text);
    if (p->t->kind != TOKEN_WORD) return;
    struct text_nearest n = {.wanted = p->t->text};
    for (size_t i = 0; i < sizeof structural / sizeof *structural; i++) text_nearest_offer(&n, structural[i]);
    if (n.name && n.distance && !is_structural(p->t)) error_hint(p->c->err, "did you mean %s?", n.name);
}

static enum err expected(struct parser *p, const char *what)
{
    struct error *err = p->c->err;
    if (p->t->kind == TOKEN_END) ADQL_ERROR(err, p->c->query, p->t->at, "the query ends where %s should follow", what);
    else ADQL_ERROR(err, p->c->query, p->t->at, "found '%.60s' where %s should stand", p->t->text, what);
    hint_for(p, what);
    return ERR_USAGE;
}

static enum err need_word(struct parser *p, const char *w)
{
    return take_word(p, w) ? ERR_OK : expected(p, w);
}

static enum err need_symbol(struct parser *p, const char *s)
{
    char what[8];
    if (take_symbol(p, s)) return ERR_OK;
    snprintf(what, sizeof what, "'%s'", s);
    return expected(p, what);
}

static enum err take_name(struct parser *p, const char *what, struct adql_name *ret)
{
    if (!is_name(p->t)) return expected(p, what);
    *ret = (struct adql_name){p->t->text, p->t->kind == TOKEN_QUOTED, p->t->at};
    p->t++;
    return ERR_OK;
}

static enum err deeper(struct parser *p)
{
    if (++p->c->depth > ADQL_DEPTH_MAX)
        return ADQL_ERROR(p->c->err, p->c->query, p->t->at, "more than %d levels of parentheses, calls and signs", ADQL_DEPTH_MAX);
    return ERR_OK;
}

static enum err count_token(struct parser *p, int64_t *ret)
{
    if (p->t->kind != TOKEN_INTEGER) return expected(p, "a number of rows");
    errno = 0;
    long long v = strtoll(p->t->text, NULL, 10);
    if (errno || v > INT64_MAX / 2) return ADQL_ERROR(p->c->err, p->c->query, p->t->at, "%.40s is too many rows", p->t->text);
    *ret = v;
    p->t++;
    return ERR_OK;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------- */

static enum err out_of_memory(struct parser *p)
{
    return error_set(p->c->err, ERR_NOMEM, __FILE__, __LINE__, __func__, "the query is too large");
}

static enum err add_arg(struct parser *p, struct adql_node *n, struct adql_node *arg)
{
    if ((n->nargs & (n->nargs - 1)) == 0) { /* a power of two: full */
        struct adql_node **args = arena_array(p->c->arena, n->nargs ? 2 * (size_t)n->nargs : 1, sizeof *args);
        if (!args) return out_of_memory(p);
        if (n->nargs) memcpy(args, n->args, (size_t)n->nargs * sizeof *args);
        n->args = args;
    }
    n->args[n->nargs++] = arg;
    if (arg && arg->depth >= n->depth) n->depth = arg->depth + 1;
    if (n->depth > p->c->tallest) p->c->tallest = n->depth;
    if (n->depth > EXPRESSION_DEPTH_MAX)
        return ADQL_ERROR(p->c->err, p->c->query, n->at, "an expression of more than %d levels", EXPRESSION_DEPTH_MAX);
    return ERR_OK;
}

static enum err new_node(struct parser *p, enum node_kind kind, int at, struct adql_node **ret)
{
    if (!(*ret = adql_node(p->c, kind, at))) return p->c->err && p->c->err->code ? p->c->err->code : ERR_NOMEM;
    return ERR_OK;
}

/* A query below an expression or a FROM counts as one level more. */
static enum err inner_query(struct parser *p, struct adql_query **ret, int *ret_depth)
{
    int around = p->c->tallest;
    p->c->tallest = 0;
    enum err e = deeper(p);
    if (!e) e = parse_query(p, ret);
    p->c->depth--;
    int inside = p->c->tallest + 1;
    if (ret_depth) *ret_depth = inside;
    p->c->tallest = around > inside ? around : inside;
    if (!e && inside > EXPRESSION_DEPTH_MAX)
        return ADQL_ERROR(p->c->err, p->c->query, (*ret)->at, "an expression of more than %d levels", EXPRESSION_DEPTH_MAX);
    return e;
}

static bool starts_query(const struct parser *p)
{
    const struct token *t = p->t;
    while (symbol_is(t, "(")) t++;
    return t->kind == TOKEN_WORD && (!strcasecmp(t->text, "SELECT") || !strcasecmp(t->text, "WITH"));
}

/* ---- primaries ----------------------------------------------------------------------------------------------------- */

static enum err parse_number(struct parser *p, struct adql_node **ret)
{
    struct adql_node *n;
    enum err e = new_node(p, NODE_NUMBER, p->t->at, &n);
    if (e) return e;
    n->text = p->t->text;
    errno = 0;
    n->number = strtod(p->t->text, NULL);
    if (!(n->number <= 1e308) || (errno == ERANGE && n->number > 1))
        return ADQL_ERROR(p->c->err, p->c->query, p->t->at, "%.40s is out of range", p->t->text);
    if (p->t->kind == TOKEN_INTEGER) {
        errno = 0;
        n->whole = strtoll(p->t->text, NULL, strncasecmp(p->t->text, "0x", 2) ? 10 : 16);
        n->integer = !errno;
    }
    p->t++;
    *ret = n;
    return ERR_OK;
}

static enum err parse_name(struct parser *p, struct adql_node **ret)
{
    struct adql_node *n;
    enum err e = new_node(p, NODE_COLUMN, p->t->at, &n);
    if (e) return e;
    int parts = 1;
    for (const struct token *t = p->t; parts < 4 && t->kind != TOKEN_END && symbol_is(t + 1, "."); t += 2) parts++;
    if (!(n->name = adql_alloc(p->c, (size_t)parts, sizeof *n->name))) return ERR_NOMEM;
    e = take_name(p, "a column name", &n->name[n->nname++]);
    while (!e && symbol_is(p->t, ".")) {
        if (symbol_is(p->t + 1, "*")) return expected(p, "an expression without *");
        p->t++;
        if (n->nname == parts) return expected(p, "the end of this name");
        if (p->t->kind != TOKEN_WORD && p->t->kind != TOKEN_QUOTED) return expected(p, "a column name");
        n->name[n->nname++] = (struct adql_name){p->t->text, p->t->kind == TOKEN_QUOTED, p->t->at};
        p->t++;
    }
    *ret = n;
    return e;
}

static enum err parse_type(struct parser *p, struct adql_node *n)
{
    static const struct { const char *word; enum adql_type type; } types[] = {
        {"SMALLINT", TYPE_SHORT}, {"INTEGER", TYPE_INT}, {"INT", TYPE_INT}, {"BIGINT", TYPE_LONG}, {"REAL", TYPE_REAL}, {"FLOAT", TYPE_DOUBLE},
        {"DOUBLE", TYPE_DOUBLE}, {"CHAR", TYPE_TEXT}, {"VARCHAR", TYPE_TEXT}, {"CHARACTER", TYPE_TEXT}, {"TIMESTAMP", TYPE_TIMESTAMP}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!take_word(p, types[i].word)) continue;
        n->cast = types[i].type;
        if (!strcmp(types[i].word, "DOUBLE")) take_word(p, "PRECISION");
        if (!strcmp(types[i].word, "CHARACTER")) take_word(p, "VARYING");
        if (n->cast == TYPE_TEXT && take_symbol(p, "(")) {
            int64_t length = 0;
            enum err e = count_token(p, &length);
            if (e) return e;
            if (length < 1 || length > 1000000) return ADQL_ERROR(p->c->err, p->c->query, p->t[-1].at, "a length of 1 to 1000000 is possible");
            n->cast_length = (int)length;
            return need_symbol(p, ")");
        }
        return ERR_OK;
    }
    expected(p, "a type");
    error_hint(p->c->err, "SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR(n), VARCHAR(n), TIMESTAMP");
    return ERR_USAGE;
}

static enum err parse_cast(struct parser *p, struct adql_node **ret)
{
    struct adql_node *n, *arg = NULL;
    enum err e = new_node(p, NODE_CAST, p->t->at, &n);
    p->t += 2;
    if (!e) e = parse_expression(p, 0, &arg);
    if (!e) e = add_arg(p, n, arg);
    if (!e) e = need_word(p, "AS");
    if (!e) e = parse_type(p, n);
    if (!e) e = need_symbol(p, ")");
    *ret = n;
    return e;
}

static enum err parse_case(struct parser *p, struct adql_node **ret)
{
    struct adql_node *n, *arg = NULL;
    enum err e = new_node(p, NODE_CASE, p->t->at, &n);
    p->t++;
    if (!e && !word(p, "WHEN")) e = parse_expression(p, 0, &arg);
    if (!e) e = add_arg(p, n, arg);
    if (!e && !word(p, "WHEN")) return expected(p, "WHEN");
    while (!e && take_word(p, "WHEN")) {
        e = parse_expression(p, 0, &arg);
        if (!e) e = add_arg(p, n, arg);
        if (!e) e = need_word(p, "THEN");
        if (!e) e = parse_expression(p, 0, &arg);
        if (!e) e = add_arg(p, n, arg);
    }
    arg = NULL;
    if (!e && take_word(p, "ELSE")) e = parse_expression(p, 0, &arg);
    if (!e) e = add_arg(p, n, arg);
    if (!e) e = need_word(p, "END");
    *ret = n;
    return e;
}

static enum err parse_arguments(struct parser *p, struct adql_node *n)
{
    enum err e = ERR_OK;
    if (take_symbol(p, ")")) return ERR_OK;
    if (take_word(p, "DISTINCT")) n->distinct = true;
    else take_word(p, "ALL");
    if (symbol_is(p->t, "*") && symbol_is(p->t + 1, ")")) {
        struct adql_node *star;
        e = new_node(p, NODE_STAR, p->t->at, &star);
        if (!e) e = add_arg(p, n, star);
        p->t += 2;
        return e;
    }
    do {
        struct adql_node *arg = NULL;
        e = parse_expression(p, 0, &arg);
        if (!e) e = add_arg(p, n, arg);
    } while (!e && take_symbol(p, ","));
    return e ? e : need_symbol(p, ")");
}

static enum err parse_call(struct parser *p, struct adql_node **ret)
{
    struct adql_node *n;
    enum err e = new_node(p, NODE_CALL, p->t->at, &n);
    if (e) return e;
    if (!(n->name = adql_alloc(p->c, 1, sizeof *n->name))) return ERR_NOMEM;
    n->name[0] = (struct adql_name){p->t->text, false, p->t->at};
    n->nname = 1;
    p->t += 2;
    *ret = n;
    return parse_arguments(p, n);
}

static enum err parse_exists(struct parser *p, struct adql_node **ret)
{
    struct adql_node *n;
    enum err e = new_node(p, NODE_EXISTS, p->t->at, &n);
    p->t++;
    if (!e) e = need_symbol(p, "(");
    if (!e && !starts_query(p)) return expected(p, "SELECT");
    if (!e) e = inner_query(p, &n->query, &n->depth);
    if (!e) e = need_symbol(p, ")");
    *ret = n;
    return e;
}

static enum err parse_parentheses(struct parser *p, struct adql_node **ret)
{
    int at = p->t->at;
    if (!starts_query(p) || symbol_is(p->t + 1, "(")) {
        /* ((SELECT ...)) as well as ((a + b) * c): a query in parentheses of its own is found one level further down */
        p->t++;
        enum err e = parse_expression(p, 0, ret);
        return e ? e : need_symbol(p, ")");
    }
    struct adql_node *n;
    enum err e = new_node(p, NODE_SUBQUERY, at, &n);
    p->t++;
    if (!e) e = inner_query(p, &n->query, &n->depth);
    *ret = n;
    return e ? e : need_symbol(p, ")");
}

static enum err parse_plain(struct parser *p, struct adql_node **ret)
{
    enum err e;
    switch (p->t->kind) {
    case TOKEN_INTEGER: case TOKEN_DECIMAL: return parse_number(p, ret);
    case TOKEN_STRING:
        e = new_node(p, NODE_STRING, p->t->at, ret);
        if (!e) (*ret)->text = p->t->text;
        p->t++;
        return e;
    case TOKEN_SYMBOL: return symbol_is(p->t, "(") ? parse_parentheses(p, ret) : expected(p, "an expression");
    case TOKEN_END: return expected(p, "an expression");
    case TOKEN_QUOTED: return parse_name(p, ret);
    case TOKEN_WORD: break;
    }
    if (word(p, "CAST") && symbol_is(p->t + 1, "(")) return parse_cast(p, ret);
    if (word(p, "CASE")) return parse_case(p, ret);
    if (word(p, "EXISTS")) return parse_exists(p, ret);
    if (word(p, "NULL")) {
        e = new_node(p, NODE_NULL, p->t->at, ret);
        p->t++;
        return e;
    }
    bool named = symbol_is(p->t + 1, ".");
    if (!named && (word(p, "TRUE") || word(p, "FALSE")) && !symbol_is(p->t + 1, "(")) {
        e = new_node(p, NODE_TRUTH, p->t->at, ret);
        if (!e) (*ret)->number = word(p, "TRUE");
        p->t++;
        return e;
    }
    if (word(p, "TIMESTAMP") && p->t[1].kind == TOKEN_STRING) {
        struct adql_node *text;
        e = new_node(p, NODE_CAST, p->t->at, ret);
        if (!e) e = new_node(p, NODE_STRING, p->t[1].at, &text);
        if (e) return e;
        text->text = p->t[1].text;
        (*ret)->cast = TYPE_TIMESTAMP;
        p->t += 2;
        return add_arg(p, *ret, text);
    }
    if (symbol_is(p->t + 1, "(") && ((word(p, "LEFT") || word(p, "RIGHT")) || !is_structural(p->t))) return parse_call(p, ret);
    return is_name(p->t) ? parse_name(p, ret) : expected(p, "an expression");
}

static enum err parse_primary(struct parser *p, struct adql_node **ret)
{
    static const struct { const char *symbol; enum adql_op op; } signs[] = {{"-", OP_MINUS}, {"+", OP_PLUS}, {"~", OP_INVERT}};
    enum err e = deeper(p);
    for (size_t i = 0; i < 3 && !e; i++) {
        if (!symbol_is(p->t, signs[i].symbol)) continue;
        struct adql_node *n, *arg = NULL;
        e = new_node(p, NODE_SIGN, p->t->at, &n);
        p->t++;
        if (!e) e = parse_primary(p, &arg);
        if (!e) e = add_arg(p, n, arg);
        if (!e) n->op = signs[i].op;
        *ret = n;
        p->c->depth--;
        return e;
    }
    if (!e) e = parse_plain(p, ret);
    p->c->depth--;
    return e;
}

/* ---- operators ----------------------------------------------------------------------------------------------------- */

enum level { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_PREDICATE, LEVEL_BITS, LEVEL_SUM, LEVEL_PRODUCT, LEVEL_PRIMARY };

static const struct { const char *symbol; enum adql_op op; enum level level; } operators[] = {
    {"*", OP_TIMES, LEVEL_PRODUCT}, {"/", OP_DIVIDE, LEVEL_PRODUCT}, {"+", OP_PLUS, LEVEL_SUM}, {"-", OP_MINUS, LEVEL_SUM}, {"||", OP_CONCAT, LEVEL_SUM},
    {"&", OP_AND, LEVEL_BITS}, {"|", OP_OR, LEVEL_BITS}, {"^", OP_XOR, LEVEL_BITS},
    {"=", OP_EQ, LEVEL_PREDICATE}, {"<>", OP_NE, LEVEL_PREDICATE}, {"!=", OP_NE, LEVEL_PREDICATE}, {"<", OP_LT, LEVEL_PREDICATE},
    {"<=", OP_LE, LEVEL_PREDICATE}, {">", OP_GT, LEVEL_PREDICATE}, {">=", OP_GE, LEVEL_PREDICATE}};

static int operator_at(const struct parser *p, enum level level)
{
    for (int i = 0; i < (int)(sizeof operators / sizeof *operators); i++)
        if (operators[i].level == level && symbol_is(p->t, operators[i].symbol)) return i;
    return -1;
}

static enum err two_args(struct parser *p, struct adql_node *n, struct adql_node *a, struct adql_node *b)
{
    enum err e = add_arg(p, n, a);
    return e ? e : add_arg(p, n, b);
}

/* a op b op c, from the left. */
static enum err parse_chain(struct parser *p, enum level level, struct adql_node **ret)
{
    struct adql_node *left = NULL, *right = NULL, *n;
    enum err e = parse_expression(p, level + 1, &left);
    for (int i; !e && (i = operator_at(p, level)) >= 0;) {
        e = new_node(p, NODE_ARITHMETIC, p->t->at, &n);
        p->t++;
        if (!e) e = parse_expression(p, level + 1, &right);
        if (!e) e = two_args(p, n, left, right);
        if (!e) n->op = operators[i].op;
        left = n;
    }
    *ret = left;
    return e;
}

static enum err parse_in(struct parser *p, struct adql_node *n)
{
    n->kind = NODE_IN;
    enum err e = need_symbol(p, "(");
    if (e) return e;
    if (starts_query(p) && word(p, "SELECT")) {
        int depth = 0;
        e = inner_query(p, &n->query, &depth);
        if (depth >= n->depth) n->depth = depth + 1;
        return e ? e : need_symbol(p, ")");
    }
    do {
        struct adql_node *arg = NULL;
        e = parse_expression(p, LEVEL_BITS, &arg);
        if (!e) e = add_arg(p, n, arg);
    } while (!e && take_symbol(p, ","));
    return e ? e : need_symbol(p, ")");
}

static enum err parse_is(struct parser *p, struct adql_node *n)
{
    n->kind = NODE_IS_NULL;
    n->negated = take_word(p, "NOT");
    return need_word(p, "NULL");
}

static enum err parse_predicate_tail(struct parser *p, struct adql_node *n)
{
    struct adql_node *arg = NULL;
    enum err e = ERR_OK;
    if (take_word(p, "IS")) return parse_is(p, n);
    n->negated = take_word(p, "NOT");
    if (take_word(p, "IN")) return parse_in(p, n);
    if (take_word(p, "BETWEEN")) {
        n->kind = NODE_BETWEEN;
        e = parse_expression(p, LEVEL_BITS, &arg);
        if (!e) e = add_arg(p, n, arg);
        if (!e) e = need_word(p, "AND");
        if (!e) e = parse_expression(p, LEVEL_BITS, &arg);
        return e ? e : add_arg(p, n, arg);
    }
    n->kind = NODE_LIKE;
    n->ignore_case = word(p, "ILIKE");
    if (!take_word(p, "LIKE") && !take_word(p, "ILIKE")) return expected(p, "IN, BETWEEN or LIKE");
    e = parse_expression(p, LEVEL_BITS, &arg);
    return e ? e : add_arg(p, n, arg);
}

static bool predicate_follows(const struct parser *p)
{
    if (word(p, "NOT")) return word_after(p, "IN") || word_after(p, "BETWEEN") || word_after(p, "LIKE") || word_after(p, "ILIKE");
    return word(p, "IS") || word(p, "IN") || word(p, "BETWEEN") || word(p, "LIKE") || word(p, "ILIKE");
}

static enum err parse_predicate(struct parser *p, struct adql_node **ret)
{
    struct adql_node *left = NULL, *right = NULL, *n;
    enum err e = parse_expression(p, LEVEL_BITS, &left);
    if (e) return e;
    int at = p->t->at, i = operator_at(p, LEVEL_PREDICATE);
    if (i >= 0) {
        e = new_node(p, NODE_COMPARE, at, &n);
        p->t++;
        if (!e && (word(p, "ANY") || word(p, "SOME") || word(p, "ALL")) && symbol_is(p->t + 1, "(")) {
            ADQL_ERROR(p->c->err, p->c->query, p->t->at, "found '%.60s' where an expression should stand", p->t->text);
            error_hint(p->c->err, "write IN (SELECT ...) or EXISTS (SELECT ...)");
            return ERR_USAGE;
        }
        if (!e) e = parse_expression(p, LEVEL_BITS, &right);
        if (!e) e = two_args(p, n, left, right);
        if (!e) n->op = operators[i].op;
        *ret = n;
        return e;
    }
    *ret = left;
    while (!e && predicate_follows(p)) { /* "x IS NULL" is a condition: a second one after it is refused by its type */
        e = new_node(p, NODE_IS_NULL, p->t->at, &n);
        if (!e) e = add_arg(p, n, *ret);
        if (!e) e = parse_predicate_tail(p, n);
        *ret = n;
    }
    return e;
}

static enum err parse_not(struct parser *p, struct adql_node **ret)
{
    if (!word(p, "NOT")) return parse_predicate(p, ret);
    struct adql_node *n, *arg = NULL;
    enum err e = deeper(p);
    if (!e) e = new_node(p, NODE_NOT, p->t->at, &n);
    if (e) return e;
    p->t++;
    e = parse_not(p, &arg);
    p->c->depth--;
    *ret = n;
    return e ? e : add_arg(p, n, arg);
}

/* AND and OR hold any number of arguments, so that long lists stay flat. */
static enum err parse_logic(struct parser *p, enum level level, struct adql_node **ret)
{
    const char *w = level == LEVEL_OR ? "OR" : "AND";
    struct adql_node *first = NULL, *arg = NULL, *n;
    enum err e = parse_expression(p, level + 1, &first);
    *ret = first;
    if (e || !word(p, w)) return e;
    e = new_node(p, level == LEVEL_OR ? NODE_OR : NODE_AND, p->t->at, &n);
    if (!e) e = add_arg(p, n, first);
    while (!e && take_word(p, w)) {
        e = parse_expression(p, level + 1, &arg);
        if (!e) e = add_arg(p, n, arg);
    }
    *ret = n;
    return e;
}

static enum err parse_expression(struct parser *p, int level, struct adql_node **ret)
{
    switch (level) {
    case LEVEL_OR: case LEVEL_AND: return parse_logic(p, level, ret);
    case LEVEL_NOT: return parse_not(p, ret);
    case LEVEL_PREDICATE: return parse_predicate(p, ret);
    case LEVEL_BITS: case LEVEL_SUM: case LEVEL_PRODUCT: return parse_chain(p, level, ret);
    default: return parse_primary(p, ret);
    }
}

/* ---- FROM ---------------------------------------------------------------------------------------------------------- */

static enum err parse_join(struct parser *p, struct adql_from **ret);

static enum err parse_alias(struct parser *p, const char *what, struct adql_name *ret)
{
    if (take_word(p, "AS")) return take_name(p, what, ret);
    return is_name(p->t) ? take_name(p, what, ret) : ERR_OK;
}

static enum err parse_source(struct parser *p, struct adql_from **ret)
{
    struct adql_from *f = adql_alloc(p->c, 1, sizeof *f);
    if (!f) return ERR_NOMEM;
    f->at = p->t->at;
    *ret = f;
    if (symbol_is(p->t, "(") && !(starts_query(p) && !symbol_is(p->t + 1, "("))) {
        enum err e = deeper(p);
        p->t++;
        if (!e) e = parse_join(p, ret);
        p->c->depth--;
        return e ? e : need_symbol(p, ")");
    }
    struct adql_source *s = f->source = adql_alloc(p->c, 1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->at = f->at;
    enum err e = ERR_OK;
    if (take_symbol(p, "(")) {
        e = inner_query(p, &s->query, NULL);
        if (!e) e = need_symbol(p, ")");
    } else {
        do {
            if (s->ntable == 3) return expected(p, "the end of this name");
            e = take_name(p, "a table name", &s->table[s->ntable++]);
        } while (!e && take_symbol(p, "."));
        if (!e && symbol_is(p->t, "(")) {
            expected(p, "a table");
            error_hint(p->c->err, "functions of tables are not part of ADQL here");
            return ERR_USAGE;
        }
    }
    return e ? e : parse_alias(p, "a name of this table", &s->alias);
}

static enum err parse_join_condition(struct parser *p, struct adql_from *f)
{
    if (f->natural) return ERR_OK;
    if (take_word(p, "ON")) return parse_expression(p, 0, &f->on);
    enum err e = take_word(p, "USING") ? need_symbol(p, "(") : expected(p, "ON or USING");
    if (e) return e;
    do {
        struct adql_name name, *grown;
        e = take_name(p, "a column name", &name);
        if (e || !(grown = adql_grow(p->c, f->using_names, f->nusing, sizeof *grown))) return e ? e : ERR_NOMEM;
        if (f->nusing == ADQL_COLUMNS_MAX) return expected(p, "')'");
        grown[f->nusing++] = name;
        f->using_names = grown;
    } while (take_symbol(p, ","));
    return need_symbol(p, ")");
}

/* Is a join next? Takes its words. */
static enum err parse_join_kind(struct parser *p, struct adql_from *f)
{
    f->natural = take_word(p, "NATURAL");
    f->kind = JOIN_INNER;
    bool outer = false;
    if (take_word(p, "INNER")) f->kind = JOIN_INNER;
    else if (!f->natural && take_word(p, "CROSS")) f->kind = JOIN_CROSS;
    else if (take_word(p, "LEFT")) f->kind = JOIN_LEFT, outer = true;
    else if (take_word(p, "RIGHT")) f->kind = JOIN_RIGHT, outer = true;
    else if (take_word(p, "FULL")) f->kind = JOIN_FULL, outer = true;
    if (outer) take_word(p, "OUTER");
    return need_word(p, "JOIN");
}

static bool join_follows(const struct parser *p)
{
    return word(p, "JOIN") || word(p, "INNER") || word(p, "LEFT") || word(p, "RIGHT") || word(p, "FULL") || word(p, "CROSS") || word(p, "NATURAL");
}

static enum err parse_join(struct parser *p, struct adql_from **ret)
{
    enum err e = parse_source(p, ret);
    for (int n = 0; !e && join_follows(p); n++) {
        struct adql_from *f = adql_alloc(p->c, 1, sizeof *f);
        if (!f) return ERR_NOMEM;
        if (n == PARTS_MAX) return expected(p, "the end: more than 100 joins");
        f->at = p->t->at;
        f->left = *ret;
        e = parse_join_kind(p, f);
        if (!e) e = parse_source(p, &f->right);
        if (!e && f->kind != JOIN_CROSS) e = parse_join_condition(p, f);
        *ret = f;
    }
    return e;
}

static enum err parse_from(struct parser *p, struct adql_select *s)
{
    enum err e = ERR_OK;
    do {
        struct adql_from *f = NULL, **grown;
        e = parse_join(p, &f);
        if (e) return e;
        if (s->nfrom == PARTS_MAX) return expected(p, "the end: more than 100 tables");
        if (!(grown = adql_grow(p->c, s->from, s->nfrom, sizeof *grown))) return ERR_NOMEM;
        grown[s->nfrom++] = f;
        s->from = grown;
    } while (take_symbol(p, ","));
    return e;
}

/* ---- SELECT -------------------------------------------------------------------------------------------------------- */

/* "t.*", "s.t.*": looks ahead for the star. */
static bool table_star(const struct parser *p)
{
    const struct token *t = p->t;
    if (!is_name(t)) return false;
    for (t++; symbol_is(t, "."); t += 2) {
        if (symbol_is(t + 1, "*")) return true;
        if (t[1].kind != TOKEN_WORD && t[1].kind != TOKEN_QUOTED) return false;
    }
    return false;
}

static enum err parse_item(struct parser *p, struct adql_item *item)
{
    item->at = p->t->at;
    if (take_symbol(p, "*")) {
        item->star = true;
        return ERR_OK;
    }
    if (table_star(p)) {
        item->star = true;
        for (; !take_symbol(p, "*"); take_symbol(p, ".")) {
            if (item->ntable == 3) return expected(p, "*");
            item->table[item->ntable++] = (struct adql_name){p->t->text, p->t->kind == TOKEN_QUOTED, p->t->at};
            p->t++;
        }
        return ERR_OK;
    }
    enum err e = parse_expression(p, 0, &item->expr);
    return e ? e : parse_alias(p, "a name of this column", &item->alias);
}

static enum err parse_items(struct parser *p, struct adql_select *s)
{
    int capacity = 0;
    do {
        if (s->nitem == capacity) {
            int wider = capacity ? 2 * capacity : 16;
            struct adql_item *grown = adql_alloc(p->c, (size_t)wider, sizeof *grown);
            if (!grown) return ERR_NOMEM;
            if (capacity) memcpy(grown, s->items, (size_t)s->nitem * sizeof *grown);
            s->items = grown;
            capacity = wider;
        }
        if (s->nitem == ADQL_COLUMNS_MAX) return expected(p, "FROM: there are too many columns");
        enum err e = parse_item(p, &s->items[s->nitem++]);
        if (e) return e;
    } while (take_symbol(p, ","));
    return ERR_OK;
}

static enum err parse_group(struct parser *p, struct adql_select *s)
{
    enum err e = need_word(p, "BY");
    do {
        struct adql_node *n = NULL, **grown;
        if (!e) e = parse_expression(p, LEVEL_BITS, &n);
        if (e) return e;
        if (s->ngroup == ADQL_COLUMNS_MAX) return expected(p, "the end: GROUP BY is too long");
        if (!(grown = adql_grow(p->c, s->group, s->ngroup, sizeof *grown))) return ERR_NOMEM;
        grown[s->ngroup++] = n;
        s->group = grown;
    } while (take_symbol(p, ","));
    s->group_position = adql_alloc(p->c, (size_t)s->ngroup, sizeof *s->group_position);
    return s->group_position ? ERR_OK : ERR_NOMEM;
}

static enum err parse_select(struct parser *p, struct adql_select **ret)
{
    struct adql_select *s = adql_alloc(p->c, 1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->at = p->t->at;
    s->top = -1;
    enum err e = need_word(p, "SELECT");
    if (e) return e;
    if (take_word(p, "DISTINCT")) s->distinct = true;
    else take_word(p, "ALL");
    if (word(p, "TOP") && p->t[1].kind == TOKEN_INTEGER) {
        p->t++;
        e = count_token(p, &s->top);
        if (!e && (word(p, "DISTINCT") || word(p, "ALL"))) {
            expected(p, "a column");
            error_hint(p->c->err, "the order is SELECT DISTINCT TOP n");
            return ERR_USAGE;
        }
    }
    if (!e) e = parse_items(p, s);
    if (!e) e = need_word(p, "FROM");
    if (!e) e = parse_from(p, s);
    if (!e && take_word(p, "WHERE")) e = parse_expression(p, 0, &s->where);
    if (!e && take_word(p, "GROUP")) e = parse_group(p, s);
    if (!e && take_word(p, "HAVING")) e = parse_expression(p, 0, &s->having);
    *ret = s;
    return e;
}

/* ---- queries ------------------------------------------------------------------------------------------------------- */

static enum err parse_body_part(struct parser *p, struct adql_body **ret)
{
    struct adql_body *b = adql_alloc(p->c, 1, sizeof *b);
    if (!b) return ERR_NOMEM;
    b->at = p->t->at;
    *ret = b;
    if (!symbol_is(p->t, "(")) return parse_select(p, &b->select);
    p->t++;
    enum err e = inner_query(p, &b->query, NULL);
    return e ? e : need_symbol(p, ")");
}

static enum err parse_set(struct parser *p, bool intersect, struct adql_body **ret)
{
    enum err e = intersect ? parse_body_part(p, ret) : parse_set(p, true, ret);
    for (int n = 0; !e && (intersect ? word(p, "INTERSECT") : word(p, "UNION") || word(p, "EXCEPT")); n++) {
        struct adql_body *b = adql_alloc(p->c, 1, sizeof *b);
        if (!b) return ERR_NOMEM;
        if (n == PARTS_MAX) return expected(p, "the end: more than 100 set operations");
        b->at = p->t->at;
        b->op = intersect ? SET_INTERSECT : word(p, "UNION") ? SET_UNION : SET_EXCEPT;
        b->left = *ret;
        p->t++;
        b->all = take_word(p, "ALL");
        if (!b->all) take_word(p, "DISTINCT");
        e = intersect ? parse_body_part(p, &b->right) : parse_set(p, true, &b->right);
        *ret = b;
    }
    return e;
}

static enum err parse_order(struct parser *p, struct adql_query *q)
{
    enum err e = need_word(p, "BY");
    do {
        struct adql_order o = {.at = p->t->at}, *grown;
        if (!e) e = parse_expression(p, LEVEL_BITS, &o.expr);
        if (e) return e;
        o.descending = word(p, "DESC");
        if (word(p, "ASC") || word(p, "DESC")) p->t++;
        if (q->norder == PARTS_MAX) return expected(p, "the end: ORDER BY is too long");
        if (!(grown = adql_grow(p->c, q->orders, q->norder, sizeof *grown))) return ERR_NOMEM;
        grown[q->norder++] = o;
        q->orders = grown;
    } while (take_symbol(p, ","));
    return e;
}

static enum err parse_common(struct parser *p, struct adql_common *t)
{
    enum err e = take_name(p, "a name of this query", &t->name);
    if (!e && take_symbol(p, "(")) {
        do {
            struct adql_name *grown = adql_grow(p->c, t->columns, t->ncolumn, sizeof *grown);
            if (!grown) return ERR_NOMEM;
            if (t->ncolumn == ADQL_COLUMNS_MAX) return expected(p, "')'");
            t->columns = grown;
            e = take_name(p, "a column name", &grown[t->ncolumn++]);
        } while (!e && take_symbol(p, ","));
        if (!e) e = need_symbol(p, ")");
    }
    if (!e) e = need_word(p, "AS");
    if (!e) e = need_symbol(p, "(");
    if (!e) e = inner_query(p, &t->query, NULL);
    return e ? e : need_symbol(p, ")");
}

static enum err parse_with(struct parser *p, struct adql_query *q)
{
    enum err e;
    if (!(q->commons = adql_alloc(p->c, PARTS_MAX, sizeof *q->commons))) return ERR_NOMEM;
    do {
        if (q->ncommon == PARTS_MAX) return expected(p, "SELECT: more than 100 queries in WITH");
        e = parse_common(p, &q->commons[q->ncommon++]);
    } while (!e && take_symbol(p, ","));
    return e;
}

static enum err parse_query(struct parser *p, struct adql_query **ret)
{
    struct adql_query *q = adql_alloc(p->c, 1, sizeof *q);
    if (!q) return ERR_NOMEM;
    q->at = p->t->at;
    *ret = q;
    enum err e = ERR_OK;
    if (take_word(p, "WITH")) e = parse_with(p, q);
    if (!e) e = parse_set(p, false, &q->body);
    if (!e && take_word(p, "ORDER")) e = parse_order(p, q);
    if (!e && take_word(p, "OFFSET")) e = count_token(p, &q->offset);
    return e;
}

enum err adql_parse(struct adql_context *c, struct adql_query **ret)
{
    struct token *tokens;
    int n;
    enum err e = adql_tokens(c->query, c->arena, &tokens, &n, c->err);
    if (e) return e;
    struct parser p = {c, tokens};
    if (!starts_query(&p)) {
        expected(&p, "SELECT or WITH");
        error_hint(c->err, "queries read only, and begin with SELECT");
        return ERR_USAGE;
    }
    if ((e = parse_query(&p, ret))) return e;
    take_symbol(&p, ";");
    if (p.t->kind == TOKEN_END) return ERR_OK;
    if (symbol_is(p.t - 1, ";")) return ADQL_ERROR(c->err, c->query, p.t->at, "one query at a time");
    return expected(&p, "the end of the query");
}
