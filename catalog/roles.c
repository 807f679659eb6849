#include "catalog/roles.h"

enum err roles_restrict(struct db *db, bool *ret_restricted, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "SELECT set_config('role', 'nightshift_query', true) FROM pg_roles"
                              " WHERE rolname = 'nightshift_query' AND pg_has_role(current_user, oid, 'member')", 0, NULL, &r, err);
    if (!e && ret_restricted) *ret_restricted = db_nrow(r) == 1;
    db_result_free(r);
    return e;
}
