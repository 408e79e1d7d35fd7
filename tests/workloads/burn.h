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

__attribute__((unused)) static void on_term(int signal) {
    (void)signal;
    stop = 1;
}
