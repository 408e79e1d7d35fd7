// A storm of processes that live 20 ms: storm SECONDS [exec]. Two at a time, each burns 20 ms of its own CPU in
// storm_child and ends, until together they have used the given seconds; with `exec` each first executes this program
// anew. What they used, as the kernel told their parent at their end, is printed as JSON.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AT_A_TIME 2
#define LIFE_SECONDS 0.020

static volatile unsigned long sink;

static double clock_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

__attribute__((noinline, noclone)) void storm_child(void) {
    do {
        for (long i = 0; i < 5000; i++) sink = sink * 31 + 1;
    } while (clock_of(CLOCK_PROCESS_CPUTIME_ID) < LIFE_SECONDS);
    sink++;
}

static void start(int anew) {
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child > 0) return;
    if (anew) execl("/proc/self/exe", "storm", "child", (char *)NULL);
    storm_child();
    _exit(0);
}

static double of(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

static double wait_for_one(void) {
    struct rusage usage;
    int status;
    if (wait4(-1, &status, 0, &usage) < 0 || status != 0) {
        fprintf(stderr, "a child failed: status %d\n", status);
        exit(1);
    }
    return of(usage.ru_utime) + of(usage.ru_stime);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "child") == 0) {
        storm_child();
        return 0;
    }
    double seconds = argc > 1 ? atof(argv[1]) : 10, children_seconds = 0;
    int anew = argc > 2 && strcmp(argv[2], "exec") == 0, running = 0;
    long children = 0;
    while (running > 0 || children_seconds < seconds) {
        if (running < AT_A_TIME && children_seconds < seconds) {
            start(anew);
            running++, children++;
        } else {
            children_seconds += wait_for_one();
            running--;
        }
    }
    printf("{\"children\": %ld, \"children_cpu_seconds\": %.6f, \"cpu_seconds\": %.6f}\n", children, children_seconds,
           clock_of(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
