// signals SECONDS: a signal arrives while `interrupted` runs, without a frame, below main > caller; its handler burns on
// an alternate stack. The same with a signal that arrives while that handler runs, and on the ordinary stack. Prints its
// own CPU clock as JSON at the end.
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chain.h"

static double on_stack_seconds, nested_seconds, alternate_seconds;

#define BURNER(name, salt)                            \
    KEEP unsigned long name(long rounds) {            \
        unsigned long state = salt;                   \
        for (long i = 0; i < rounds; i++) {           \
            state = state * 31 + salt;                \
            __asm__ volatile("" : "+r"(state));       \
        }                                             \
        return state;                                 \
    }

BURNER(burn_alternate, 1)
BURNER(burn_nested, 2)
BURNER(burn_on_stack, 3)

static volatile sig_atomic_t arrived;

KEEP void burn(unsigned long (*burner)(long), long rounds, double *seconds) {
    double start = cpu();
    sink += burner(varied(rounds));
    *seconds += cpu() - start;
}

KEEP void on_nested(int signal) {
    burn(burn_nested, 6000, &nested_seconds);
    sink += signal;
}

KEEP void on_alternate(int signal) {
    burn(burn_alternate, 10000, &alternate_seconds);
    raise(SIGUSR2);
    sink += signal;
}

// As sigaction's three-argument handlers are called, on the stack of what was interrupted.
KEEP void on_stack(int signal, siginfo_t *info, void *context) {
    burn(burn_on_stack, 4000, &on_stack_seconds);
    sink += signal + info->si_code + (context != NULL);
    arrived = 1;
}

// A leaf with its values in the red zone: nobody called anything when the signal comes. The trap is the signal, at a
// known instruction of a frameless function.
KEEP long interrupted(long value) {
    long local = value;
    __asm__ volatile("ud2" : "+m"(local));
    return local + value;
}

// Skips the two bytes of `ud2`.
KEEP void on_trap(int signal, siginfo_t *info, void *context) {
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
    on_alternate(signal);
    sink += info->si_code;
}

KEEP void caller(void) {
    sink += interrupted(sink);
    kill(getpid(), SIGHUP);
    sink++;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    if (sigaction(signal, &action, NULL) != 0) exit(1);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    size_t size = 65536;
    stack_t stack = {.ss_size = size};
    stack.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) != 0) return 1;
    handle(SIGILL, on_trap, SA_ONSTACK);
    signal(SIGUSR2, on_nested);
    handle(SIGHUP, on_stack, 0);
    double seconds = atof(argv[1]);
    while (cpu() < seconds) caller();
    printf("{\"burn_alternate\": %.6f, \"burn_nested\": %.6f, \"burn_on_stack\": %.6f, \"cpu_seconds\": %.6f}\n",
           alternate_seconds, nested_seconds, on_stack_seconds, cpu());
    return 0;
}
