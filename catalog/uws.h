/* The store of asynchronous jobs (UWS 1.1): rows of uws_job, and files of results and uploads in one folder.
 *
 *     POST /tap/async --uws_create--> PENDING --uws_run--> QUEUED --uws_take--> EXECUTING --uws_finish--> COMPLETED | ERROR
 *                                        '-------------------uws_abort-----------------'--------------> ABORTED
 *
 * Properties: (1) a phase changes by one statement that names the phases it may change from; (2) a job that executes has a
 * lease, renewed by uws_beat(); whoever lost it writes nothing more (lease_owner is part of each update); (3) a result file is
 * named only when it is whole, then its row says COMPLETED; (4) purging removes row first, files after, so that no row names
 * a file that is not there.
 * Source: UWS 1.1 (REC 2016).  Threads: any, each with its own struct db.                                              */
#ifndef NIGHTSHIFT_CATALOG_UWS_H
#define NIGHTSHIFT_CATALOG_UWS_H

#include <stdint.h>

#include "common/db.h"

#define UWS_ID_SIZE 33
#define UWS_FILE_MAX 1200

enum uws_phase { UWS_PENDING, UWS_QUEUED, UWS_EXECUTING, UWS_COMPLETED, UWS_ERROR, UWS_ABORTED, UWS_PHASES };

struct uws_job {
    char id[UWS_ID_SIZE];
    char owner[128], run_id[256];
    enum uws_phase phase;
    char *parameters, *uploads; /* JSON; malloc'd */
    int64_t execution_s;
    char created[32], started[32], ended[32], destruction[32]; /* ISO 8601 with Z, "" for none */
    int attempts;
    char *error;             /* NULL for none; malloc'd */
    bool error_transient;
    char result_type[128], result_sha256[65];
    int64_t result_bytes, result_rows;
    bool result_overflow;
};

struct uws_filter {          /* of the job list */
    unsigned phases;         /* bits 1 << phase; 0: all */
    char after[40];          /* created later than; "" for any */
    int64_t last;            /* the newest so many; 0: all */
    const char *owner;
};

struct uws_result {
    const char *type, *sha256;
    int64_t bytes, rows;
    bool overflow;
};

const char *uws_phase_name(enum uws_phase p);
bool uws_phase_of(const char *name, enum uws_phase *ret);
bool uws_is_active(enum uws_phase p);     /* may it change by itself? PENDING, QUEUED, EXECUTING */
bool uws_id_is_good(const char *id);
void uws_new_id(char ret[UWS_ID_SIZE]);

/* job: id, owner, run_id, parameters, uploads, execution_s, destruction. */
enum err uws_create(struct db *db, const struct uws_job *job, struct error *err);
/* Status: ERR_NOT_FOUND, also for a job past its destruction. uws_release() frees ret. */
enum err uws_get(struct db *db, const char *id, struct uws_job *ret, struct error *err);
void uws_release(struct uws_job *job);

/* Changes from outside. Status: ERR_NOT_FOUND; ERR_USAGE: not in this phase */
enum err uws_run(struct db *db, const char *id, struct error *err);
enum err uws_abort(struct db *db, const char *id, struct error *err);
enum err uws_set_parameters(struct db *db, const char *id, const char *parameters, const char *run_id, struct error *err);
enum err uws_set_execution(struct db *db, const char *id, int64_t seconds, struct error *err);
enum err uws_set_destruction(struct db *db, const char *id, const char *when, double most_s, struct error *err);
enum err uws_delete(struct db *db, const char *id, const char *folder, struct error *err);

/* Newest first, at most max. visit() sees each. */
enum err uws_list(struct db *db, const struct uws_filter *f, int64_t max, void (*visit)(void *user, const struct uws_job *job), void *user,
                  struct error *err);

/* For those who run jobs. *ret_found: is there one? */
enum err uws_take(struct db *db, const char *lease_owner, double lease_s, struct uws_job *ret, bool *ret_found, struct error *err);
/* Status: ERR_LEASE_LOST: aborted, deleted, or somebody else's by now */
enum err uws_beat(struct db *db, const char *id, const char *lease_owner, double lease_s, struct error *err);
/* result NULL: ERROR with `message`. Status: ERR_LEASE_LOST */
enum err uws_finish(struct db *db, const char *id, const char *lease_owner, const struct uws_result *result, const char *message, bool transient,
                    struct error *err);
/* Back to the queue. blameless: the server stops; this try does not count. */
enum err uws_requeue(struct db *db, const char *id, const char *lease_owner, bool blameless, struct error *err);
enum err uws_reap(struct db *db, int64_t *ret_n, struct error *err);
enum err uws_purge(struct db *db, const char *folder, int64_t *ret_n, struct error *err); /* past their destruction */
/* Remove files of the folder, older than an hour, whose job is gone: a kill came between row and file. */
enum err uws_sweep(struct db *db, const char *folder, struct error *err);

/* Names of files in the folder. */
void uws_result_path(const char *folder, const char *id, int attempt, char ret[UWS_FILE_MAX]); /* whoever lost its lease writes another file */
void uws_upload_path(const char *folder, const char *id, int i, char ret[UWS_FILE_MAX]);
void uws_remove_files(const char *folder, const char *id);

#endif
