// Reports where a timer interrupts the program: see main.go. C that Go calls, and that calls Go.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

static int busy;

static void report(int number, siginfo_t *info, void *context) {
	if (__atomic_exchange_n(&busy, 1, __ATOMIC_SEQ_CST)) return;
	mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
	unsigned long thread;
	char text[256], byte;
#ifdef __x86_64__
	__asm__("mov %%fs:0, %0" : "=r"(thread));
	int length = snprintf(text, sizeof text, "%llx %llx %llx 0 %lx 0\n", (unsigned long long)m->gregs[REG_RIP],
		(unsigned long long)m->gregs[REG_RSP], (unsigned long long)m->gregs[REG_RBP], thread);
#else
	__asm__("mrs %0, tpidr_el0" : "=r"(thread));
	int length = snprintf(text, sizeof text, "%llx %llx %llx %llx %lx %llx\n", m->pc, m->sp, m->regs[29], m->regs[30],
		thread, m->regs[28]);
#endif
	if (write(1, text, length) != length || read(0, &byte, 1) != 1) _exit(0);
	__atomic_store_n(&busy, 0, __ATOMIC_SEQ_CST);
}

void start(void) {
	struct sigaction action = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	sigaction(SIGPROF, &action, 0);
	struct itimerval timer = {{0, 3000}, {0, 3000}};
	setitimer(ITIMER_PROF, &timer, 0);
}

extern void callback(void);

__attribute__((noinline)) void c_burn(void) {
	for (volatile long n = 0; n < 2000000; n++);
}
__attribute__((noinline)) void c_outer(int back) {
	if (back) callback(); else c_burn();
	__asm__ volatile("");
}
