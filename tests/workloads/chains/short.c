// short CPU_SECONDS LIFE_MS fork|exec: processes that live so many milliseconds of their CPU, two at a time, and burn
// below main > child > f00 > … > f11 > work; with `exec` each is this program anew, without it the child of one that has
// not run before. Prints what they used, as the kernel told their parent at their end, as JSON.
#define main chain_main
#include "chain.c"
#undef main
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define AT_A_TIME 2
#define DEPTH 24

KEEP void child(double seconds) {
    // A child that is forked has a clock of its own: it begins at 0.
    double shares[3] = {0};
    do f00(DEPTH, shares);
    while (cpu() < seconds);
    sink++;
}

KEEP void start(double seconds, const char *life, int anew) {
    pid_t pid = fork();
    if (pid < 0) exit(1);
    if (pid > 0) return;
    if (anew) execl("/proc/self/exe", "short", "child", life, (char *)NULL);
    child(seconds);
    _exit(0);
}

static double wait_for_one(void) {
    struct rusage usage;
    int status;
    if (wait4(-1, &status, 0, &usage) < 0 || status != 0) exit(1);
    return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double life = atof(argv[2]) / 1000;
    if (strcmp(argv[1], "child") == 0) {
        child(life);
        return 0;
    }
    if (argc < 4) return 2;
    double seconds = atof(argv[1]), used = 0;
    int running = 0, anew = strcmp(argv[3], "exec") == 0;
    long children = 0;
    while (running > 0 || used < seconds) {
        if (running < AT_A_TIME && used < seconds) {
            start(life, argv[2], anew);
            running++, children++;
        } else {
            used += wait_for_one();
            running--;
        }
    }
    printf("{\"children\": %ld, \"children_seconds\": %.6f}\n", children, used);
    return 0;
}
