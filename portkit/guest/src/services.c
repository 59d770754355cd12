/* The services while they run: started in order, restarted, checked, stopped in reverse order. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* Docker's restart back-off: 100 ms, doubled to a minute; forgotten after ten seconds of life. */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 60000
#define SETTLED_MS 10000
#define NOT_STARTED 126
#define LINE 2048 /* a longer line of output is cut in two */
#define MOST_READS 64 /* of a pipe, before anything else has its turn */
#define SAID 400  /* of a healthcheck's output, that its failure is reported with */

enum state { WAITING, RUNNING, PAUSED, ENDED };
enum health { NO_CHECK, CHECKING, WELL, ILL };

struct run {
    struct service *service;
    enum state state;
    pid_t pid;
    int in, out;             /* the pipe of its output */
    int code, stopped;       /* stopped: the signal was sent */
    int64_t begun, kill_at, again_at, pause_ms;
    uint32_t tries;
    char line[LINE];
    size_t length;
    enum health health;
    pid_t check;
    int check_in, check_out;
    int64_t check_at, check_begun, check_kill_at;
    int was_started;
    uint32_t failed;
    char said[SAID + 1];
    size_t saidc;
};

static struct run runs[MAX_SERVICES];
static size_t count;
static struct app *app;
static int stopping;

static const char *name_of(const struct run *run) {
    return run->service->name ? run->service->name : "app";
}

/* ---------------------------------------------------------------- output */

static void console_write(const char *data, size_t size) {
    while (size) {
        ssize_t part = write(1, data, size);
        if (part <= 0) return;
        data += part, size -= (size_t)part;
    }
}

static void line_end(struct run *run) {
    char text[LINE + 128];
    int length = snprintf(text, sizeof text, "%s | %.*s\n", run->service->name, (int)run->length,
                          run->line);
    console_write(text, (size_t)length);
    run->length = 0;
}

/* Of several services every line says whose it is. */
static void lines_write(struct run *run, const char *data, ssize_t size) {
    for (ssize_t i = 0; i < size; i++) {
        if (data[i] == '\n') {
            line_end(run);
            continue;
        }
        if (run->length == sizeof run->line) line_end(run);
        run->line[run->length++] = data[i];
    }
}

/* What the app writes goes to the console; 0 when nothing came. */
static int forward(struct run *run) {
    char data[4096];
    ssize_t size = read(run->in, data, sizeof data);
    if (size <= 0) return 0;
    if (run->service->name) lines_write(run, data, size);
    else console_write(data, (size_t)size);
    return 1;
}

/* Bounded: what a service has left behind may go on writing. */
static void drain(struct run *run) {
    for (int i = 0; i < MOST_READS && forward(run); i++) continue;
    if (run->length) line_end(run);
}

/* ---------------------------------------------------------------- healthchecks */

static void health_set(struct run *run, enum health health) {
    static const char *const words[] = {"", "starting", "healthy", "unhealthy"};
    if (run->health == health) return;
    run->health = health;
    if (health == WELL) say("%s is %s", name_of(run), words[health]);
    if (health == ILL) say("%s is %s: %s", name_of(run), words[health], run->said);
}

static void check_read(struct run *run) {
    char data[1024];
    ssize_t size;
    for (int pass = 0; pass < MOST_READS && (size = read(run->check_in, data, sizeof data)) > 0; pass++)
        for (ssize_t i = 0; i < size && run->saidc < SAID; i++)
            run->said[run->saidc++] = data[i] == '\n' || data[i] == '\r' ? ' ' : data[i];
    run->said[run->saidc] = 0;
}

/* As the engine counts: the failure of a check that began within the start period is none, unless it
 * was healthy before. */
static void check_end(struct run *run, int code, int late) {
    const struct service *service = run->service;
    check_read(run);
    if (!run->saidc)
        snprintf(run->said, sizeof run->said, late ? "no answer within %u ms" : "exit code %d",
                 late ? service->check_timeout_ms : (unsigned)code);
    run->check = 0;
    run->check_at = now_ms() + service->check_interval_ms;
    if (!code) {
        run->failed = 0;
        health_set(run, WELL);
    } else if (run->health != CHECKING || run->check_begun - run->begun >= service->check_start_ms) {
        if (++run->failed >= service->check_retries) health_set(run, ILL);
    }
}

static void check_begin(struct run *run) {
    run->saidc = 0, run->check_begun = now_ms();
    run->check = check_start(run->service, run->pid, run->check_out);
    run->check_kill_at = now_ms() + run->service->check_timeout_ms;
    if (!run->check) check_end(run, 1, 0);
}

/* ---------------------------------------------------------------- start, end, stop */

static void ended(struct run *run, int status);

static void start(struct run *run) {
    run->begun = now_ms();
    if (run->service->name) say("starting %s: %s", run->service->name, run->service->argv[0]);
    else if (run->tries) say("starting the app again");
    else say("starting %s", run->service->argv[0]);
    run->state = RUNNING, run->stopped = 0, run->kill_at = 0, run->failed = 0;
    run->health = run->service->checkc ? CHECKING : NO_CHECK;
    run->check_at = run->begun + run->service->check_interval_ms;
    run->was_started = 1;
    run->pid = service_start(app, run->service, run->out);
    if (run->pid > 0) return;
    say("cannot start %s: %s", name_of(run), strerror(errno));
    ended(run, NOT_STARTED << 8);
}

static int again(const struct run *run) {
    const struct service *service = run->service;
    if (service->restart == 1) return 1;
    return service->restart == 2 && run->code && (!service->retries || run->tries < service->retries);
}

static void ended(struct run *run, int status) {
    drain(run);
    run->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (run->check > 0) kill(run->check, SIGKILL);
    run->pid = 0, run->state = ENDED, run->kill_at = 0, run->health = NO_CHECK;
    config_restart(run->service, (size_t)(run - runs));
    int more = !stopping && again(run);
    /* One line: whoever reads it must not take one that is started again for one that is over. */
    say("%s exited with code %d%s", name_of(run), run->code, more ? "; it is started again" : "");
    if (!more) return;
    if (now_ms() - run->begun > SETTLED_MS) run->pause_ms = BACKOFF_FIRST_MS;
    run->tries++;
    run->again_at = now_ms() + run->pause_ms;
    run->pause_ms = run->pause_ms * 2 > BACKOFF_MOST_MS ? BACKOFF_MOST_MS : run->pause_ms * 2;
    run->state = PAUSED;
}

/* 1: it can start; 0: not yet; -1: never, as `why` says. */
static int ready(const struct run *run, char *why, size_t size) {
    int all = 1;
    for (size_t i = 0; i < run->service->needc; i++) {
        const struct need *need = &run->service->needs[i];
        const struct run *other = &runs[need->service];
        int over = other->state == ENDED, met = other->service->rests;
        switch (need->condition) {
        case STARTED: met |= other->was_started; break;
        case HEALTHY:
            met |= other->health == WELL || (other->service->was_ill && other->was_started);
            break;
        case COMPLETED: met |= over && !other->code; break;
        }
        if (met) continue;
        if (!over && other->health != ILL) {
            all = 0;
            continue;
        }
        if (!need->required) continue;
        snprintf(why, size, over ? "%s exited with code %d" : "%s is unhealthy", name_of(other),
                 other->code);
        return -1;
    }
    return all;
}

static void start_all(void) {
    char why[256];
    for (int moved = 1; moved;) {
        moved = 0;
        for (size_t i = 0; i < count; i++) {
            struct run *run = &runs[i];
            if (run->state == PAUSED && now_ms() >= run->again_at) start(run);
            int now = run->state == WAITING ? ready(run, why, sizeof why) : 0;
            if (now > 0) start(run), moved = 1;
            if (now < 0) {
                say("%s is not started: %s", name_of(run), why);
                run->state = ENDED, run->code = 1, moved = 1;
            }
        }
    }
}

/* Whether a service needs another one, also by what it needs: a job that has ended stands between
 * them. `seen`: those that were looked at, as what needs what may be a circle. */
static int needs(size_t from, size_t index, char *seen) {
    seen[from] = 1;
    for (size_t n = 0; n < runs[from].service->needc; n++) {
        size_t other = runs[from].service->needs[n].service;
        if (other == index || (!seen[other] && needs(other, index, seen))) return 1;
    }
    return 0;
}

static int needed(size_t index) {
    for (size_t i = 0; i < count; i++) {
        char seen[MAX_SERVICES] = {0};
        if (i != index && runs[i].state == RUNNING && needs(i, index, seen)) return 1;
    }
    return 0;
}

/* Each is stopped when no service that needs it runs any more. */
static void stop_all(void) {
    for (size_t i = 0; i < count; i++) {
        struct run *run = &runs[i];
        if (run->state == WAITING || run->state == PAUSED) run->state = ENDED;
    }
    for (size_t i = 0; i < count; i++) {
        struct run *run = &runs[i];
        if (run->state != RUNNING || run->stopped || needed(i)) continue;
        say("stopping %s with signal %u", run->service->name ? run->service->name : "the app",
            run->service->stop_signal);
        run->stopped = 1;
        run->kill_at = now_ms() + run->service->grace_ms;
        kill(run->pid, (int)run->service->stop_signal);
    }
}

/* ---------------------------------------------------------------- the loop */

static void earliest(int64_t *next, int64_t moment) {
    if (*next < 0 || moment < *next) *next = moment;
}

static int64_t next_moment(void) {
    int64_t next = -1;
    for (size_t i = 0; i < count; i++) {
        const struct run *run = &runs[i];
        if (run->state == PAUSED) earliest(&next, run->again_at);
        if (run->state != RUNNING) continue;
        if (run->kill_at) earliest(&next, run->kill_at);
        if (run->check > 0) earliest(&next, run->check_kill_at);
        else if (run->service->checkc && !stopping) earliest(&next, run->check_at);
    }
    return next;
}

static void timers(void) {
    int64_t now = now_ms();
    for (size_t i = 0; i < count; i++) {
        struct run *run = &runs[i];
        if (run->state != RUNNING) continue;
        if (run->kill_at && now >= run->kill_at) {
            say("%s did not stop within %u ms; it is killed",
                run->service->name ? run->service->name : "the app", run->service->grace_ms);
            run->kill_at = 0;
            kill(run->pid, SIGKILL);
        }
        if (run->check > 0 && now >= run->check_kill_at) kill(run->check, SIGKILL);
        else if (!run->check && run->service->checkc && !stopping && now >= run->check_at)
            check_begin(run);
    }
}

static void reap(void) {
    int status;
    pid_t gone;
    while ((gone = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < count; i++) {
            struct run *run = &runs[i];
            if (gone == run->pid) ended(run, status);
            else if (gone == run->check && run->state == RUNNING)
                check_end(run, WIFEXITED(status) ? WEXITSTATUS(status) : 1,
                          !WIFEXITED(status) && now_ms() >= run->check_kill_at);
            else if (gone == run->check) run->check = 0;
        }
    }
}

static int all_ended(void) {
    for (size_t i = 0; i < count; i++)
        if (runs[i].state != ENDED) return 0;
    return 1;
}

static void pipe_make(int *in, int *out) {
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC)) fail("make a pipe");
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    *in = pipes[0], *out = pipes[1];
}

static void prepare(void) {
    for (size_t i = 0; i < count; i++) {
        struct run *run = &runs[i];
        run->service = app->services[i];
        run->pause_ms = BACKOFF_FIRST_MS;
        if (run->service->rests) {
            say("%s rests", name_of(run));
            run->state = ENDED;
        }
        pipe_make(&run->in, &run->out);
        if (run->service->checkc) pipe_make(&run->check_in, &run->check_out);
    }
}

static void wait_for(int signals, int button) {
    static struct pollfd files[2 * MAX_SERVICES + 2];
    struct signalfd_siginfo info;
    nfds_t used = 0;
    for (size_t i = 0; i < count; i++) files[used++] = (struct pollfd){runs[i].in, POLLIN, 0};
    files[used++] = (struct pollfd){signals, POLLIN, 0};
    files[used++] = (struct pollfd){button, POLLIN, 0}; /* poll(2) passes -1 over */
    /* Of a check that runs: one that waits for its output to be read would never end. */
    for (size_t i = 0; i < count; i++)
        files[used++] = (struct pollfd){runs[i].check > 0 ? runs[i].check_in : -1, POLLIN, 0};
    int64_t next = next_moment(), left = next < 0 ? -1 : next - now_ms();
    poll(files, used, next >= 0 && left < 0 ? 0 : (int)left);
    for (size_t i = 0; i < count; i++)
        if (files[i].revents & POLLIN) forward(&runs[i]);
    for (size_t i = 0; i < count; i++)
        if (files[count + 2 + i].revents & POLLIN) check_read(&runs[i]);
    if (files[count + 1].revents && button_pressed(button)) stopping = 1;
    while (read(signals, &info, sizeof info) == sizeof info) continue;
}

void services_run(struct app *whole) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    app = whole, count = whole->count;
    int signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC), button = button_open();
    prepare();
    for (;;) {
        if (!stopping) start_all();
        else stop_all();
        if (all_ended()) return;
        wait_for(signals, button);
        timers();
        reap();
    }
}
