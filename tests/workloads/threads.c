// Four threads, named north, east, south and west, each burn the given seconds of their own CPU: in a function of their
// own (north 80 %, east 60 %, south 40 %, west 20 %) and in the common one. A thread's root is run_<name>. The seconds
// are those of each thread's own CPU clock, printed as JSON at the end.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile sig_atomic_t stop;
static double seconds;

struct clock {
    double own, common, total;
};

static double clock_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu(void) { return clock_of(CLOCK_THREAD_CPUTIME_ID); }

// Of pseudo-random length, so that it does not fall into step with the sampler: 1000 to 16000 rounds.
static long varied(unsigned long *state) {
    *state = *state * 6364136223846793005UL + 1442695040888963407UL;
    return 1000 * (long)(1 + (*state >> 60));
}

static void on_term(int signal) {
    (void)signal;
    stop = 1;
}

// Each thread's sink is on its own stack: a shared one would slow down whoever runs in parallel.
#define BURNER(name, salt)                                                          \
    __attribute__((noinline, noclone)) void name(long rounds) {                     \
        volatile unsigned long sink = 0;                                            \
        for (long i = 0; i < rounds; i++) sink = sink * 31 + salt;                  \
    }

BURNER(common, 1)

#define THREAD(name, salt, percent)                                                 \
    BURNER(name, salt)                                                              \
    __attribute__((noinline, noclone)) void *run_##name(void *argument) {           \
        struct clock *clock = argument;                                             \
        unsigned long state = salt;                                                 \
        pthread_setname_np(pthread_self(), #name);                                  \
        while (!stop && cpu() < seconds) {                                          \
            long rounds = varied(&state);                                           \
            double start = cpu();                                                   \
            name(percent * rounds);                                                 \
            double middle = cpu();                                                  \
            common((100 - percent) * rounds);                                       \
            clock->own += middle - start;                                           \
            clock->common += cpu() - middle;                                        \
        }                                                                           \
        clock->total = cpu();                                                       \
        return NULL;                                                                \
    }

THREAD(north, 2, 80)
THREAD(east, 3, 60)
THREAD(south, 4, 40)
THREAD(west, 5, 20)

int main(int argc, char **argv) {
    static const char *names[] = {"north", "east", "south", "west"};
    static void *(*const bodies[])(void *) = {run_north, run_east, run_south, run_west};
    struct clock clocks[4] = {0};
    pthread_t threads[4];
    signal(SIGTERM, on_term);
    seconds = argc > 1 ? atof(argv[1]) : 1e9;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, bodies[i], &clocks[i]);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    printf("{");
    for (int i = 0; i < 4; i++)
        printf("\"%s\": {\"own\": %.6f, \"common\": %.6f, \"cpu_seconds\": %.6f}, ", names[i], clocks[i].own,
               clocks[i].common, clocks[i].total);
    printf("\"cpu_seconds\": %.6f}\n", clock_of(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
