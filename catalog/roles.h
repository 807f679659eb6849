/* The role that queries of users run as. */
#ifndef NIGHTSHIFT_CATALOG_ROLES_H
#define NIGHTSHIFT_CATALOG_ROLES_H

#include <stdbool.h>

#include "common/db.h"

/* Until the end of this transaction the connection has the rights of nightshift_query: SELECT on what is published, temporary
 * tables, and no more. *ret_restricted (may be NULL) is false where that role is missing or this login is not a member of it:
 * then the login's own rights hold. Call it within a transaction. */
enum err roles_restrict(struct db *db, bool *ret_restricted, struct error *err);

#endif
