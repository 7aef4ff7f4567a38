/* A thread pool. All threads of a call run the same function; each PARALLEL_FOR in it hands its iterations out one at a
   time to whichever thread comes next, and is a barrier. What an iteration computes does not depend on the number of
   threads, and no two iterations write to the same place, so no bit of the result depends on it either. A thread that
   wakes late finds the iterations claimed and goes on; without workers the caller runs them all. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

/* Iterations of all loops of a call so far. */
typedef struct {
    _Atomic i64 claimed, finished;
} loop_counter;

/* One thread within one call. A worker without memory may leave before its first iteration; the caller may not. */
typedef struct {
    loop_counter *counter;
    i64 first; /* iterations of the loops that this thread has left behind */
    int in_iteration, is_worker;
} pool_thread;

/* Spins, then yields: a short wait costs other processes nothing. */
INLINE void spin_wait(int *spins) {
    if (++*spins > 2000) sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    else __builtin_ia32_pause();
#endif
}

/* The next unclaimed iteration of n; -1 once all are finished, by any thread. Every thread must call it until then. */
static i64 next_iteration(pool_thread *thread, i64 n) {
    loop_counter *s = thread->counter;
    if (thread->in_iteration) atomic_fetch_add_explicit(&s->finished, 1, memory_order_release);
    i64 claimed = atomic_load_explicit(&s->claimed, memory_order_relaxed), last = thread->first + n;
    while ((thread->in_iteration = claimed < last))
        if (atomic_compare_exchange_weak_explicit(
                &s->claimed, &claimed, claimed + 1, memory_order_relaxed, memory_order_relaxed))
            return claimed - thread->first;
    for (int spins = 0; atomic_load_explicit(&s->finished, memory_order_acquire) < last;) spin_wait(&spins);
    thread->first = last;
    return -1;
}

/* Within a function that has a `pool_thread *thread`. */
#define PARALLEL_FOR(i, n) for (i64 i; (i = next_iteration(thread, n)) >= 0;)

/* ---- The workers: created once, asleep between calls. Of two callers at once the later one gets the workers. */

typedef struct {
    void (*function)(void *argument, pool_thread *thread);
    void *argument;
    loop_counter counter;
    i64 workers_wanted;         /* that may still join */
    _Atomic int workers_inside; /* that have joined and not yet left */
} job;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t job_ready;
    _Atomic int max_workers; /* of a job; at most n_workers */
    int n_workers;
    unsigned generation; /* counts jobs */
    job *job;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .job_ready = PTHREAD_COND_INITIALIZER};

static void *worker_main(void *none) {
    unsigned seen = 0;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (seen == pool.generation) pthread_cond_wait(&pool.job_ready, &pool.lock);
        seen = pool.generation;
        job *j = pool.job;
        if (!j || !j->workers_wanted) continue;
        j->workers_wanted--, j->workers_inside++;
        pthread_mutex_unlock(&pool.lock);
        pool_thread thread = {.counter = &j->counter, .is_worker = 1};
        j->function(j->argument, &thread);
        atomic_fetch_sub_explicit(&j->workers_inside, 1, memory_order_release);
        pthread_mutex_lock(&pool.lock);
    }
    return NULL;
}

/* A forked child has none of the workers, and the thread that held the lock may not exist in it. */
static void reset_after_fork(void) {
    pthread_mutex_init(&pool.lock, NULL), pthread_cond_init(&pool.job_ready, NULL);
    pool.max_workers = 0;
    pool.n_workers = 0, pool.job = NULL;
}

/* Sets the number of threads of each call, the caller included; returns the number before. */
int set_num_threads(int threads) {
    pthread_mutex_lock(&pool.lock);
    int before = pool.max_workers + 1;
    if (!pool.n_workers && threads > 1) pthread_atfork(NULL, NULL, reset_after_fork);
    sigset_t all, own; /* workers block all signals: Python's threads handle them */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &own);
    for (pthread_t created; pool.n_workers < threads - 1; pool.n_workers++) {
        if (pthread_create(&created, NULL, worker_main, NULL)) break;
        pthread_detach(created);
    }
    pthread_sigmask(SIG_SETMASK, &own, NULL);
    pool.max_workers = threads < 1 ? 0 : (int)min_i64(threads - 1, pool.n_workers);
    pthread_mutex_unlock(&pool.lock);
    return before;
}

/* Runs the function on the caller and on workers, at most as many threads as its longest loop has iterations. */
static void run_on_pool(void (*function)(void *argument, pool_thread *thread), void *argument, i64 iterations) {
    i64 workers = min_i64(pool.max_workers, iterations - 1);
    job j = {.function = function, .argument = argument, .workers_wanted = workers};
    if (workers > 0) {
        pthread_mutex_lock(&pool.lock);
        pool.job = &j, pool.generation++;
        pthread_mutex_unlock(&pool.lock);
        for (i64 i = 0; i < workers; i++) pthread_cond_signal(&pool.job_ready);
    }
    pool_thread thread = {.counter = &j.counter};
    function(argument, &thread);
    if (workers > 0) {
        pthread_mutex_lock(&pool.lock);
        if (pool.job == &j) pool.job = NULL;
        pthread_mutex_unlock(&pool.lock);
        for (int spins = 0; atomic_load_explicit(&j.workers_inside, memory_order_acquire);) spin_wait(&spins);
    }
}
