// Processes as fast as the machine can make them: forks SECONDS [WORKERS [PROGRAM…]]. Each worker forks a child and
// waits for it, again and again; the child ends at once, or executes one of the given programs, in turn. How many there
// were and how long it took is printed as JSON.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static long work(double until, int programs, char **program, int worker, int workers) {
    long children = 0;
    while (now() < until) {
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            exit(1);
        }
        if (child == 0) {
            if (programs > 0) {
                char *path = program[(children * workers + worker) % programs];
                execl(path, path, (char *)NULL);
                _exit(1);
            }
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) < 0 || status != 0) {
            fprintf(stderr, "a child failed: status %d\n", status);
            exit(1);
        }
        children++;
    }
    return children;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 10, started = now();
    int workers = argc > 2 ? atoi(argv[2]) : 2;
    long *counts = mmap(NULL, sizeof(long) * workers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int worker = 0; worker < workers; worker++) {
        pid_t child = fork();
        if (child == 0) {
            counts[worker] = work(started + seconds, argc - 3, argv + 3, worker, workers);
            _exit(0);
        }
    }
    int failed = 0, status;
    while (wait(&status) > 0) failed |= status;
    long children = 0;
    for (int worker = 0; worker < workers; worker++) children += counts[worker];
    printf("{\"children\": %ld, \"seconds\": %.6f}\n", children, now() - started);
    return failed != 0;
}
