/* Threads that share a call: all of them run through the same code, in which each loop over pieces gives a piece to
   whoever comes for it first. What a piece gives does not depend on how many there are, and no two write to the same
   place, so no bit does either. Whoever is late finds the pieces taken and goes on; alone, the caller does them all. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct {
    _Atomic n_t taken, done; /* pieces, of all loops so far */
} share;

typedef struct {
    share *of;
    n_t first; /* pieces of the loops that this thread is through with */
    int at_work, helps; /* at a piece; another's call: without memory it may leave, before its first piece */
} crew;

/* A moment of waiting: short ones cost others nothing. */
INLINE void wait_on(int *turns) {
    if (++*turns > 2000) sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    else __builtin_ia32_pause();
#endif
}

/* The next piece of n that nobody has begun; -1 once all are done, by whomever. Each thread has to come until then. */
static n_t next_piece(crew *c, n_t n) {
    share *s = c->of;
    if (c->at_work) atomic_fetch_add_explicit(&s->done, 1, memory_order_release);
    n_t taken = atomic_load_explicit(&s->taken, memory_order_relaxed), last = c->first + n;
    while ((c->at_work = taken < last))
        if (atomic_compare_exchange_weak_explicit(&s->taken, &taken, taken + 1, memory_order_relaxed, memory_order_relaxed))
            return taken - c->first;
    for (int turns = 0; atomic_load_explicit(&s->done, memory_order_acquire) < last;) wait_on(&turns);
    c->first = last;
    return -1;
}

#define SHARED_OUT(i, n) for (n_t i; (i = next_piece(c, n)) >= 0;)

/* ---- The threads: made once, asleep between calls. Of two callers at once the later one is helped. */

typedef struct {
    void (*work)(void *given, crew *c);
    void *given;
    share share;
    n_t wanted;         /* helpers that may still come */
    _Atomic int inside; /* those that have not left */
} job;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t begun;
    _Atomic int helpers; /* at most so many may come, of those that there are */
    int made;
    unsigned turn;
    job *job;
} hall = {.lock = PTHREAD_MUTEX_INITIALIZER, .begun = PTHREAD_COND_INITIALIZER};

static void *helper(void *none) {
    unsigned seen = 0;
    pthread_mutex_lock(&hall.lock);
    for (;;) {
        while (seen == hall.turn) pthread_cond_wait(&hall.begun, &hall.lock);
        seen = hall.turn;
        job *j = hall.job;
        if (!j || !j->wanted) continue;
        j->wanted--, j->inside++;
        pthread_mutex_unlock(&hall.lock);
        crew c = {.of = &j->share, .helps = 1};
        j->work(j->given, &c);
        atomic_fetch_sub_explicit(&j->inside, 1, memory_order_release);
        pthread_mutex_lock(&hall.lock);
    }
    return NULL;
}

/* A forked child has none of them, and whoever held the lock is not there to give it back. */
static void forget_helpers(void) {
    pthread_mutex_init(&hall.lock, NULL), pthread_cond_init(&hall.begun, NULL);
    hall.helpers = 0;
    hall.made = 0, hall.job = NULL;
}

/* So many threads are to share each call, the caller among them; returns how many there were before. */
int set_threads(int threads) {
    pthread_mutex_lock(&hall.lock);
    int before = hall.helpers + 1;
    if (!hall.made && threads > 1) pthread_atfork(NULL, NULL, forget_helpers);
    sigset_t all, own; /* signals are for those who know of them */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &own);
    for (pthread_t made; hall.made < threads - 1; hall.made++) {
        if (pthread_create(&made, NULL, helper, NULL)) break;
        pthread_detach(made);
    }
    pthread_sigmask(SIG_SETMASK, &own, NULL);
    hall.helpers = threads < 1 ? 0 : (int)least(threads - 1, hall.made);
    pthread_mutex_unlock(&hall.lock);
    return before;
}

/* `pieces`: of the loop that has most to do; with one the caller works alone. */
static void share_out(void (*work)(void *given, crew *c), void *given, n_t pieces) {
    n_t helped = least(hall.helpers, pieces - 1);
    job j = {.work = work, .given = given, .wanted = helped};
    if (helped > 0) {
        pthread_mutex_lock(&hall.lock);
        hall.job = &j, hall.turn++;
        pthread_mutex_unlock(&hall.lock);
        for (n_t i = 0; i < helped; i++) pthread_cond_signal(&hall.begun);
    }
    crew c = {.of = &j.share};
    work(given, &c);
    if (helped > 0) {
        pthread_mutex_lock(&hall.lock);
        if (hall.job == &j) hall.job = NULL;
        pthread_mutex_unlock(&hall.lock);
        for (int turns = 0; atomic_load_explicit(&j.inside, memory_order_acquire);) wait_on(&turns);
    }
}
