// What programs that burn CPU on one thread share.
#include <signal.h>
#include <time.h>

__attribute__((unused)) static volatile sig_atomic_t stop;
static volatile unsigned long sink;

// gcc gives a function that calls nothing no frame of its own, whatever the flags, unless it asks for its address.
#define FRAME __asm__ volatile("" : : "r"(__builtin_frame_address(0)))

// CPU seconds of this thread.
static double cpu(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

// Rounds, times 1 to 16 in a pseudo-random row. Work that repeats every millisecond falls into step with a sampler that
// fires every millisecond, and one part of it is then seen more often than it ran.
__attribute__((unused)) static long varied(long rounds) {
    static __thread unsigned long state = 1;
    state = state * 6364136223846793005UL + 1442695040888963407UL;
    return rounds * (long)(1 + (state >> 60));
}

__attribute__((unused)) static void on_term(int signal) {
    (void)signal;
    stop = 1;
}
