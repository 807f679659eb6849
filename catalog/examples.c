/* /tap/examples: DALI examples as XHTML with RDFa, from catalog/schema/examples.yaml. */
#include <string.h>

#include "catalog/tap_internal.h"
#include "common/assets.h"
#include "common/yamltree.h"

#define FILE_NAME "catalog/schema/examples.yaml"

static const char *text_of(const struct yaml_node *n, const char *key)
{
    const struct yaml_node *c = yaml_child(n, key);
    return c && c->text ? c->text : "";
}

static void write_example(struct http_response *w, const struct yaml_node *n)
{
    const char *id = text_of(n, "id");
    http_printf(w, "<div typeof=\"example\" id=\"%s\" resource=\"#%s\">\n<h2 property=\"name\">", id, id);
    tap_xml(w, text_of(n, "name"));
    http_printf(w, "</h2>\n<p>");
    tap_xml(w, text_of(n, "description"));
    http_printf(w, "</p>\n<pre property=\"query\">");
    tap_xml(w, text_of(n, "query"));
    http_printf(w, "</pre>\n</div>\n");
}

static void examples(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    const struct asset *a = asset_find(FILE_NAME);
    struct yamltree *tree = NULL;
    struct error err = ERROR_INIT;
    if (!a || yamltree_parse(a->data, a->size, FILE_NAME, &tree, &err)) {
        http_error(w, 500, "the examples cannot be read");
        return;
    }
    http_header_out(w, "Content-Type", "application/xhtml+xml; charset=utf-8");
    http_printf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n"
                   "<head><title>Examples</title></head>\n<body vocab=\"http://www.ivoa.net/rdf/examples#\">\n<h1>Examples</h1>\n");
    for (const struct yaml_node *n = yamltree_root(tree)->first; n; n = n->next) write_example(w, n);
    http_printf(w, "</body>\n</html>\n");
    yamltree_free(tree);
}

enum err examples_routes(struct tap *t, struct httpd *h, struct error *err)
{
    enum err e = httpd_route(h, "GET", "/tap/examples", examples, t, HTTP_INLINE | HTTP_PUBLIC, err);
    return e ? e : httpd_route(h, "GET", "/examples", examples, t, HTTP_INLINE | HTTP_PUBLIC, err);
}
