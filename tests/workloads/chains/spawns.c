// spawns SECONDS vfork|posix_spawn|fork: again and again starts this program anew, as a child that burns below
// main > child > inner for 50 ms of its CPU. The parent burns below main > parent meanwhile. Prints the parent's CPU
// clock as JSON at the end; a child prints nothing.
#define _GNU_SOURCE
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "chain.h"

extern char **environ;
static double shares[3];

KEEP void inner(double *of_child) {
    BURN(of_child);
    sink++;
}

KEEP int child(void) {
    double of_child[3];
    while (cpu() < 0.050) inner(of_child);
    return 0;
}

KEEP void parent(double until) {
    while (cpu() < until) BURN(shares);
    sink++;
}

KEEP pid_t start(const char *how) {
    char *arguments[] = {"spawns", "child", NULL};
    pid_t pid = -1;
    if (strcmp(how, "posix_spawn") == 0) {
        if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) != 0) exit(1);
        return pid;
    }
    pid = strcmp(how, "vfork") == 0 ? vfork() : fork();
    if (pid == 0) {
        execve("/proc/self/exe", arguments, environ);
        _exit(1);
    }
    return pid;
}

static double children_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 + usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "child") == 0) {
        sink += child();
        return 0;
    }
    if (argc < 3) return 2;
    double seconds = atof(argv[1]);
    while (cpu() < seconds) {
        int status = 1;
        pid_t pid = start(argv[2]);
        parent(cpu() + 0.020);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return 1;
    }
    printf("{\"alpha\": %.6f, \"beta\": %.6f, \"gamma_\": %.6f, \"cpu_seconds\": %.6f, \"children_seconds\": %.6f}\n",
           shares[0], shares[1], shares[2], cpu(), children_seconds());
    return 0;
}
