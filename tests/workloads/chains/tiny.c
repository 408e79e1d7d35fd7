// A library of functions that do next to nothing: what they cost is their prologues and epilogues.
#include "chain.h"

KEEP unsigned long tiny_saves(unsigned long value) {
    __asm__ volatile("" : "+r"(value) : : "rbx", "r12", "r13", "r14", "r15");
    return value + 1;
}

KEEP unsigned long tiny_frame(unsigned long value) {
    volatile unsigned long local[40];
    local[value & 31] = value;
    return local[value & 31] + 1;
}

// One way out without a frame, one with.
KEEP unsigned long tiny_branch(unsigned long value) {
    if (value & 1) return value + 1;
    unsigned long local = value;
    __asm__ volatile("" : "+m"(local) : : "rbx", "r12");
    return local + 1;
}

KEEP unsigned long tiny_inner(unsigned long value) {
    __asm__ volatile("" : "+r"(value) : : "rbx");
    return value + 1;
}

// Through the library's own procedure linkage table.
KEEP unsigned long tiny_outer(unsigned long value) { return tiny_inner(value) + tiny_inner(value + 1); }
