#include "catalog/embedded.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/atomicfile.h"
#include "common/child.h"
#include "common/db.h"
#include "common/log.h"
#include "common/text.h"

#define START_WAIT_S 60
#define OLDEST_MAJOR 15

static const char *const foreign_settings[] = {"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATA", "PGUSER", "PGDATABASE", "PGPASSWORD",
                                               "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGSSLMODE",
                                               "PGCLIENTENCODING", "LC_ALL", "LANGUAGE", NULL};

/* ---- where -------------------------------------------------------------------------------------------------------- */

/* Newest /usr/lib/postgresql/N/bin with N >= 15; the folder of pg_ctl in PATH otherwise. */
static bool find_programs(char *ret, size_t size)
{
    int best = 0;
    DIR *d = opendir("/usr/lib/postgresql");
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[300];
        snprintf(path, sizeof path, "/usr/lib/postgresql/%s/bin/initdb", f->d_name);
        if (atoi(f->d_name) > best && access(path, X_OK) == 0) best = atoi(f->d_name);
    }
    if (d) closedir(d);
    if (best >= OLDEST_MAJOR) {
        snprintf(ret, size, "/usr/lib/postgresql/%d/bin", best);
        return true;
    }
    const char *path = getenv("PATH");
    char *copy = strdup(path ? path : ""), *save = NULL, file[PATH_MAX];
    bool found = false;
    for (char *p = strtok_r(copy, ":", &save); p && !found; p = strtok_r(NULL, ":", &save)) {
        snprintf(file, sizeof file, "%s/initdb", p);
        if ((found = access(file, X_OK) == 0)) snprintf(ret, size, "%s", p);
    }
    free(copy);
    return found;
}

static void default_data(char *ret, size_t size)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (geteuid() == 0)
        snprintf(ret, size, "/var/lib/nightshift");
    else if (xdg && *xdg == '/')
        snprintf(ret, size, "%s/nightshift", xdg);
    else
        snprintf(ret, size, "%s/.local/share/nightshift", home && *home == '/' ? home : "/tmp");
}

static enum err choose_user(struct embedded *e, struct error *err)
{
    struct passwd *pw;
    e->drop = geteuid() == 0;
    if (!e->drop) return ERR_OK;
    if (!(pw = getpwnam("postgres")) && !(pw = getpwnam("nobody")))
        return ERROR(err, ERR_SETTINGS, "cannot run a database as root, and there is no user 'postgres' or 'nobody'");
    e->uid = pw->pw_uid;
    e->gid = pw->pw_gid;
    snprintf(e->user, sizeof e->user, "%s", pw->pw_name);
    return ERR_OK;
}

enum err embedded_locate(const struct settings *s, struct embedded *ret, struct error *err)
{
    struct embedded e = {0};
    const char *data = settings_string(s, SET_DB_DATA), *programs = settings_string(s, SET_DB_PROGRAMS);
    char cwd[PATH_MAX], given[EMBEDDED_PATH];
    if (*data)
        snprintf(given, sizeof given, "%s", data);
    else
        default_data(given, sizeof given);
    size_t n = strlen(given);
    while (n > 1 && given[n - 1] == '/') given[--n] = '\0';
    if (*given == '/' || !getcwd(cwd, sizeof cwd)) *cwd = '\0';
    if (snprintf(e.data, sizeof e.data, "%s%s%s", cwd, *cwd ? "/" : "", given) >= (int)sizeof e.data)
        return ERROR(err, ERR_SETTINGS, "the path of db.data is too long");
    snprintf(e.pg, sizeof e.pg, "%s/pg", e.data);
    snprintf(e.run, sizeof e.run, "%s/run", e.data);
    snprintf(e.log, sizeof e.log, "%s/log", e.data);
    if (strlen(e.run) + sizeof "/.s.PGSQL.65535.lock" > sizeof ((struct sockaddr_un *)0)->sun_path)
        return ERROR(err, ERR_SETTINGS, "the path '%s' is too long for a socket; set db.data to a shorter one", e.run);
    if (*programs)
        snprintf(e.programs, sizeof e.programs, "%s", programs);
    else if (!find_programs(e.programs, sizeof e.programs)) {
        ERROR(err, ERR_SETTINGS, "there is no PostgreSQL %d or newer on this machine", OLDEST_MAJOR);
        error_hint(err, "install Debian's 'postgresql' package, set db.programs, or set DATABASE_URL");
        return ERR_SETTINGS;
    }
    enum err code = choose_user(&e, err);
    if (!code) *ret = e;
    return code;
}

static const char *in_data(const struct embedded *e, const char *name, char *buf, size_t size)
{
    snprintf(buf, size, "%s/%s", e->data, name);
    return buf;
}

bool embedded_exists(const struct embedded *e)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/PG_VERSION", e->pg);
    return access(path, F_OK) == 0;
}

/* ---- small files -------------------------------------------------------------------------------------------------- */

static int read_port(const struct embedded *e)
{
    char path[PATH_MAX], *text = text_read_file(in_data(e, "port", path, sizeof path), 64, NULL);
    int port = text ? atoi(text) : 0;
    free(text);
    return port > 0 && port < 65536 ? port : 0;
}

static enum err write_owned(const char *path, const char *text, mode_t mode, const struct embedded *owner, struct error *err)
{
    enum err e = atomicfile_write(path, text, strlen(text), err);
    if (e) return e;
    if (chmod(path, mode) || (owner && owner->drop && chown(path, owner->uid, owner->gid)))
        return error_from_errno(err, errno, path, "change the owner of");
    return ERR_OK;
}

static enum err make_owned(const char *path, mode_t mode, const struct embedded *owner, struct error *err)
{
    enum err e = make_folders(path, err);
    if (e) return e;
    if (chmod(path, mode) || (owner && owner->drop && chown(path, owner->uid, owner->gid)))
        return error_from_errno(err, errno, path, "change the owner of");
    return ERR_OK;
}

/* Newest file of DATA/log. */
static void newest_log(const struct embedded *e, char *ret, size_t size)
{
    struct stat st;
    time_t best = 0;
    DIR *d = opendir(e->log);
    snprintf(ret, size, "%s/start.log", e->log);
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", e->log, f->d_name);
        if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_mtime < best || !strcmp(f->d_name, "start.log")) continue;
        best = st.st_mtime;
        snprintf(ret, size, "%s", path);
    }
    if (d) closedir(d);
}

/* The last lines of a log as one line of an error's hint. */
static void hint_of_log(const char *path, struct error *err)
{
    size_t size;
    char *text = text_read_file(path, 1 << 24, &size);
    if (!text) return;
    const char *tail = size > 240 ? text + size - 240 : text;
    char clean[256];
    for (char *p = text; *p; p++)
        if (*p == '\n' || *p == '\t') *p = ' ';
    error_hint(err, "%s: %s", path, text_clean(clean, sizeof clean, tail));
    free(text);
}

/* ---- processes ---------------------------------------------------------------------------------------------------- */

static enum err run(const struct embedded *e, const char *const *argv, const char *output, int *code, struct error *err)
{
    struct child_options o = {.drop = e->drop, .uid = e->uid, .gid = e->gid, .folder = "/", .output = output, .unset = foreign_settings};
    return child_run(argv, &o, code, err);
}

/* Does this process work in the cluster's folder? Every process of a PostgreSQL server does. */
static bool works_here(const struct embedded *e, pid_t pid)
{
    char link[64], cwd[PATH_MAX], real[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    ssize_t n = readlink(link, cwd, sizeof cwd - 1);
    if (n <= 0 || !realpath(e->pg, real)) return false;
    cwd[n] = '\0';
    return !strcmp(cwd, real);
}

/* The postmaster of the pid file, 0 when there is none or the number belongs to somebody else by now. */
static pid_t postmaster(const struct embedded *e)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/postmaster.pid", e->pg);
    char *text = text_read_file(path, 4096, NULL);
    pid_t pid = text ? (pid_t)atol(text) : 0;
    free(text);
    return pid > 1 && works_here(e, pid) ? pid : 0;
}

/* Signal what a killed postmaster left behind. Returned: how many there were. */
static int signal_orphans(const struct embedded *e, int sig)
{
    int n = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *f; d && (f = readdir(d));) {
        pid_t pid = (pid_t)atol(f->d_name);
        char path[64], name[32] = "";
        if (pid <= 1 || !works_here(e, pid)) continue;
        snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
        char *text = text_read_file(path, 64, NULL);
        if (text) snprintf(name, sizeof name, "%s", text);
        free(text);
        if (strncmp(name, "postgres", 8)) continue;
        kill(pid, sig);
        n++;
    }
    if (d) closedir(d);
    return n;
}

static void pause_s(double s)
{
    nanosleep(&(struct timespec){(time_t)s, (long)((s - (double)(time_t)s) * 1e9)}, NULL);
}

/* Without a living postmaster: end its orphans (they hold the shared memory) and take away the pid file and the socket's
 * lock, whose numbers may be somebody else's by now, or a zombie's that nobody reaps. */
static void clear_remains(const struct embedded *e)
{
    char path[PATH_MAX];
    for (int i = 0; i < 100 && signal_orphans(e, i < 50 ? SIGQUIT : SIGKILL); i++) pause_s(0.1);
    snprintf(path, sizeof path, "%s/postmaster.pid", e->pg);
    unlink(path);
    DIR *d = opendir(e->run);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (strncmp(f->d_name, ".s.PGSQL.", 9)) continue;
        snprintf(path, sizeof path, "%s/%s", e->run, f->d_name);
        unlink(path);
    }
    if (d) closedir(d);
}

/* ---- URLs --------------------------------------------------------------------------------------------------------- */

static void percent(const char *text, char *ret, size_t size)
{
    size_t n = 0;
    for (; *text && n + 4 < size; text++)
        n += (size_t)(isalnum((unsigned char)*text) || strchr("-._~", *text) ? snprintf(ret + n, size - n, "%c", *text)
                                                                               : snprintf(ret + n, size - n, "%%%02X", (unsigned char)*text));
    ret[n] = '\0';
}

enum err embedded_url(const struct embedded *e, bool tcp, const char *database, char *ret, size_t size, struct error *err)
{
    char folder[3 * EMBEDDED_PATH], path[PATH_MAX], *password = NULL;
    int port = read_port(e);
    if (!port || !embedded_exists(e)) {
        ERROR(err, ERR_NOT_FOUND, "there is no private database in '%s'", e->data);
        error_hint(err, "`nightshift db up` makes one");
        return ERR_NOT_FOUND;
    }
    if (!tcp) {
        percent(e->run, folder, sizeof folder);
        snprintf(ret, size, "postgresql://nightshift@/%s?host=%s&port=%d", database, folder, port);
        return ERR_OK;
    }
    if (!(password = text_read_file(in_data(e, "password", path, sizeof path), 200, NULL)))
        return error_from_errno(err, errno, path, "read");
    password[strcspn(password, "\n")] = '\0';
    snprintf(ret, size, "postgresql://nightshift:%s@127.0.0.1:%d/%s", password, port, database);
    free(password);
    return ERR_OK;
}

bool embedded_is_up(const struct embedded *e)
{
    char url[4 * EMBEDDED_PATH];
    return postmaster(e) && !embedded_url(e, false, "postgres", url, sizeof url, NULL) && db_ping(url);
}

/* ---- making ------------------------------------------------------------------------------------------------------- */

static enum err make_password(const struct embedded *e, struct error *err)
{
    unsigned char random[24];
    char text[2 * sizeof random + 2], path[PATH_MAX];
    if (getrandom(random, sizeof random, 0) != sizeof random) return ERROR(err, ERR_IO, "could not get random numbers");
    for (size_t i = 0; i < sizeof random; i++) snprintf(text + 2 * i, 3, "%02x", random[i]);
    strcat(text, "\n");
    return write_owned(in_data(e, "password", path, sizeof path), text, 0600, NULL, err);
}

/* The server's user must reach the folder: a parent that only root may enter ends here, with a clear word. */
static enum err check_reachable(const struct embedded *e, struct error *err)
{
    int code;
    const char *argv[] = {"/usr/bin/test", "-w", e->run, NULL};
    if (!e->drop) return ERR_OK;
    enum err x = run(e, argv, NULL, &code, err);
    if (x || code == 0) return x;
    ERROR(err, ERR_SETTINGS, "user '%s', who runs the database for root, cannot reach '%s'", e->user, e->data);
    error_hint(err, "choose a db.data whose parent folders others may enter (x permission)");
    return ERR_SETTINGS;
}

static enum err make_cluster(const struct embedded *e, struct error *err)
{
    char fresh[EMBEDDED_PATH + 16], program[EMBEDDED_PATH + 16], pwfile[EMBEDDED_PATH + 32], password[PATH_MAX], log[EMBEDDED_PATH + 32];
    int code = 0;
    snprintf(fresh, sizeof fresh, "%s.new", e->pg);
    snprintf(program, sizeof program, "%s/initdb", e->programs);
    snprintf(pwfile, sizeof pwfile, "%s/.initdb", e->run);
    snprintf(log, sizeof log, "%s/initdb.log", e->data);
    const char *wipe[] = {"/bin/rm", "-rf", fresh, NULL};
    enum err x = child_run(wipe, &(struct child_options){.folder = "/"}, &code, err);
    if (!x) x = make_password(e, err);
    if (!x) x = make_owned(fresh, 0700, e, err);
    if (x) return x;
    char *text = text_read_file(in_data(e, "password", password, sizeof password), 200, NULL);
    x = text ? write_owned(pwfile, text, 0600, e, err) : error_from_errno(err, errno, password, "read");
    free(text);
    const char *argv[] = {program, "-D", fresh, "-U", "nightshift", "-A", "trust", "--auth-host=scram-sha-256", "--pwfile", pwfile,
                          "-E", "UTF8", "--no-locale", "--data-checksums", "--no-instructions", NULL};
    if (!x) x = run(e, argv, log, &code, err);
    unlink(pwfile);
    if (!x && code) {
        x = ERROR(err, ERR_DATABASE, "could not make a database in '%s' (initdb gave %d)", e->data, code);
        hint_of_log(log, err);
    }
    if (x) return x;
    char path[EMBEDDED_PATH + 64];
    snprintf(path, sizeof path, "%s/postgresql.conf", fresh);
    FILE *f = fopen(path, "a");
    if (!f || fputs("\ninclude 'nightshift.conf'\n", f) < 0 || fclose(f)) return error_from_errno(err, errno, path, "write");
    if (rename(fresh, e->pg)) return error_from_errno(err, errno, e->pg, "rename to");
    return ERR_OK;
}

/* ---- starting ----------------------------------------------------------------------------------------------------- */

/* A loopback port nobody listens on: the one used last, else any. */
static int free_port(int wanted)
{
    for (int i = 0; i < 50; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(i ? 0 : wanted)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof a;
        int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) return 0;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        bool good = !bind(fd, (struct sockaddr *)&a, sizeof a) && !getsockname(fd, (struct sockaddr *)&a, &n);
        close(fd);
        if (good && ntohs(a.sin_port) != 5432) return ntohs(a.sin_port);
    }
    return 0;
}

static int64_t buffers_mib(void)
{
    int64_t mib = (int64_t)sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024) / 1024 / 8;
    return mib < 128 ? 128 : mib > 512 ? 512 : mib;
}

/* Quoted for postgresql.conf. */
static void quote(const char *text, char *ret, size_t size)
{
    size_t n = 0;
    for (; *text && n + 3 < size; text++) {
        if (*text == '\'') ret[n++] = '\'';
        ret[n++] = *text;
    }
    ret[n] = '\0';
}

static enum err write_settings(const struct embedded *e, int port, struct error *err)
{
    char path[EMBEDDED_PATH + 32], text[4 * EMBEDDED_PATH], run_q[2 * EMBEDDED_PATH], log_q[2 * EMBEDDED_PATH], number[32];
    quote(e->run, run_q, sizeof run_q);
    quote(e->log, log_q, sizeof log_q);
    snprintf(text, sizeof text,
             "# Written by `nightshift db up` at each start.\n"
             "listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = '%s'\nunix_socket_permissions = 0700\n"
             "timezone = 'UTC'\nlog_timezone = 'UTC'\ndatestyle = 'iso'\n"
             "fsync = on\nsynchronous_commit = on\nfull_page_writes = on\nwal_level = replica\nmax_wal_senders = 2\n"
             "max_connections = 100\nshared_buffers = %lldMB\nwork_mem = 32MB\nmaintenance_work_mem = 128MB\n"
             "max_wal_size = 2GB\nmin_wal_size = 256MB\ncheckpoint_timeout = 10min\nwal_buffers = 16MB\n"
             "random_page_cost = 1.1\njit = off\npassword_encryption = 'scram-sha-256'\n"
             "logging_collector = on\nlog_directory = '%s'\nlog_filename = 'postgresql-%%a.log'\nlog_rotation_age = 1d\n"
             "log_rotation_size = 0\nlog_truncate_on_rotation = on\nlog_line_prefix = '%%m [%%p] %%a '\n"
             "log_min_duration_statement = 5s\nlog_lock_waits = on\n",
             port, run_q, (long long)buffers_mib(), log_q);
    snprintf(path, sizeof path, "%s/nightshift.conf", e->pg);
    enum err x = write_owned(path, text, 0600, e, err);
    snprintf(number, sizeof number, "%d\n", port);
    return x ? x : write_owned(in_data(e, "port", path, sizeof path), number, 0644, NULL, err);
}

static enum err start_server(const struct embedded *e, struct error *err)
{
    char program[EMBEDDED_PATH + 16], log[EMBEDDED_PATH + 32], wait[16];
    int code = 0, port = free_port(read_port(e));
    if (!port) return ERROR(err, ERR_IO, "could not find a free loopback port");
    enum err x = write_settings(e, port, err);
    if (x) return x;
    snprintf(program, sizeof program, "%s/pg_ctl", e->programs);
    snprintf(log, sizeof log, "%s/start.log", e->log);
    snprintf(wait, sizeof wait, "%d", START_WAIT_S);
    char ctl_log[EMBEDDED_PATH + 32];
    in_data(e, "pg_ctl.log", ctl_log, sizeof ctl_log);
    const char *argv[] = {program, "start", "-D", e->pg, "-l", log, "-w", "-t", wait, "-s", NULL};
    x = run(e, argv, ctl_log, &code, err);
    if (x || code == 0) return x;
    ERROR(err, ERR_DATABASE, "could not start the private database in '%s' (pg_ctl gave %d)", e->data, code);
    newest_log(e, log, sizeof log);
    hint_of_log(log, err);
    return ERR_DATABASE;
}

/* A server that another program is starting, or that recovers after a crash, gets its time. */
static bool wait_until_up(const struct embedded *e, double seconds)
{
    for (double end = clock_seconds() + seconds; clock_seconds() < end; pause_s(0.05)) {
        if (embedded_is_up(e)) return true;
        if (!postmaster(e)) return false;
    }
    return false;
}

static enum err make_database(const struct embedded *e, struct error *err)
{
    char url[4 * EMBEDDED_PATH];
    struct db *db = NULL;
    struct db_result *r = NULL;
    enum err x = embedded_url(e, false, "postgres", url, sizeof url, err);
    if (!x) x = db_open(url, "nightshift db", &db, err);
    if (!x) x = db_query(db, "SELECT FROM pg_database WHERE datname = '" EMBEDDED_DATABASE "'", 0, NULL, &r, err);
    if (!x && db_nrow(r) == 0) x = db_exec(db, "CREATE DATABASE " EMBEDDED_DATABASE, err);
    db_result_free(r);
    db_close(db);
    return x;
}

static enum err up_locked(const struct embedded *e, bool *ret_started, struct error *err)
{
    enum err x = ERR_OK;
    *ret_started = false;
    if (embedded_exists(e) && (embedded_is_up(e) || (postmaster(e) && wait_until_up(e, START_WAIT_S)))) return ERR_OK;
    if (!x) x = make_owned(e->run, 0700, e, err);
    if (!x) x = make_owned(e->log, 0700, e, err);
    if (!x) x = check_reachable(e, err);
    if (!x && !embedded_exists(e)) x = make_cluster(e, err);
    if (x) return x;
    if (postmaster(e)) return ERROR(err, ERR_DATABASE, "the private database in '%s' runs but does not answer", e->data);
    clear_remains(e);
    x = start_server(e, err);
    if (!x) *ret_started = true;
    return x ? x : make_database(e, err);
}

/* Hold DATA/lock. Returned: descriptor, -1 with the error. */
static int lock_data(const struct embedded *e, struct error *err)
{
    char path[PATH_MAX];
    int fd = open(in_data(e, "lock", path, sizeof path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_from_errno(err, errno, path, "open");
        return -1;
    }
    while (flock(fd, LOCK_EX))
        if (errno != EINTR) {
            error_from_errno(err, errno, path, "lock");
            close(fd);
            return -1;
        }
    return fd;
}

enum err embedded_up(const struct embedded *e, bool *ret_started, struct error *err)
{
    enum err x = make_folders(e->data, err);
    if (x) return x;
    int fd = lock_data(e, err);
    if (fd < 0) return ERR_IO;
    x = up_locked(e, ret_started, err);
    close(fd);
    return x;
}

enum err embedded_down(const struct embedded *e, bool *ret_stopped, struct error *err)
{
    char program[EMBEDDED_PATH + 16], log[EMBEDDED_PATH + 32];
    int code = 0;
    *ret_stopped = false;
    if (!embedded_exists(e)) return ERR_OK;
    int fd = lock_data(e, err);
    if (fd < 0) return ERR_IO;
    enum err x = ERR_OK;
    if (postmaster(e)) {
        snprintf(program, sizeof program, "%s/pg_ctl", e->programs);
        in_data(e, "pg_ctl.log", log, sizeof log);
        const char *argv[] = {program, "stop", "-D", e->pg, "-m", "fast", "-w", "-t", "60", "-s", NULL};
        x = run(e, argv, log, &code, err);
        if (!x && code) {
            x = ERROR(err, ERR_DATABASE, "could not stop the private database in '%s' (pg_ctl gave %d)", e->data, code);
            hint_of_log(log, err);
        }
        *ret_stopped = !x;
    } else {
        clear_remains(e);
    }
    close(fd);
    return x;
}
