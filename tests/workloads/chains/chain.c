// chain SECONDS DEPTH: burns below main > f00 > f01 > … > f11 > f00 > … > work, DEPTH functions deep. Each of the twelve
// lays its frame out in another way. Prints its own CPU clock as JSON at the end.
#include <alloca.h>
#include <string.h>

#include "chain.h"

KEEP void work(double *shares) {
    BURN(shares);
    sink++;
}

// The rest of the chain, and something after it, so that no call is a jump.
#define GO_ON(next)                                          \
    do {                                                     \
        if (depth > 1) next(depth - 1, shares);              \
        else work(shares);                                   \
        sink++;                                              \
    } while (0)
#define LINK(name) KEEP void name(long depth, double *shares)

LINK(f00);
LINK(f01);
LINK(f02);
LINK(f03);
LINK(f04);
LINK(f05);
KEEP void f06(long depth, double *shares, long a, long b, long c, long d, long e, long f, long g);
LINK(f07);
LINK(f08);
LINK(f09);
__attribute__((cold)) LINK(f10);
LINK(f11);

LINK(f00) { GO_ON(f01); }

// Values that live across the call, in callee-saved registers.
LINK(f01) {
    unsigned long a = sink, b = a * 3, c = sink, d = c * 5, e = sink, f = e * 7;
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
    GO_ON(f02);
    sink += a ^ b ^ c ^ d ^ e ^ f;
}

// A local array.
LINK(f02) {
    volatile char local[136];
    local[depth & 127] = 1;
    GO_ON(f03);
    sink += local[depth & 127];
}

// A frame of variable size: its CFA needs the frame pointer.
LINK(f03) {
    volatile char *local = alloca(16 + (size_t)(depth & 3) * 16);
    local[0] = 1;
    GO_ON(f04);
    sink += local[0];
}

// A realigned frame.
LINK(f04) {
    volatile char local[64] __attribute__((aligned(64)));
    local[depth & 63] = 1;
    GO_ON(f05);
    sink += local[depth & 63];
}

// Arguments on the stack: the distance to the CFA differs at the call.
LINK(f05) {
    if (depth > 1) f06(depth - 1, shares, sink, 2, 3, 4, 5, 6, depth);
    else work(shares);
    sink++;
}

// A realigned frame with arguments above it: gcc keeps the CFA in memory.
KEEP void f06(long depth, double *shares, long a, long b, long c, long d, long e, long f, long g) {
    volatile char local[64] __attribute__((aligned(64)));
    volatile char *more = alloca(16 + (size_t)(g & 1) * 16);
    local[0] = more[0] = 1;
    GO_ON(f07);
    sink += a + b + c + d + e + f + g + local[0] + more[0];
}

// Called through a pointer.
LINK(f07) {
    void (*volatile next)(long, double *) = f08;
    GO_ON(next);
}

// A frame in one branch only.
LINK(f08) {
    if (depth < 0) return;
    double before = shares[0];
    GO_ON(f09);
    shares[0] += before * 0;
}

// The call is in a part of the function that gcc moves away: f09.cold.
LINK(f09) {
    if (depth > 1) f10(depth - 1, shares);
    else work(shares);
    sink++;
}

__attribute__((cold)) LINK(f10) { GO_ON(f11); }

struct pair {
    double values[4];
};

// Returns in memory.
KEEP struct pair carry(long depth, double *shares) {
    struct pair result = {{(double)depth, 1, 2, 3}};
    __asm__ volatile("" : : "r"(&result) : "memory");
    (void)shares;
    return result;
}

// A large frame that is copied.
LINK(f11) {
    struct pair carried = carry(depth, shares);
    GO_ON(f00);
    sink += (unsigned long)carried.values[1];
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double seconds = atof(argv[1]), shares[3] = {0};
    long depth = atol(argv[2]);
    while (cpu() < seconds) f00(depth, shares);
    print_truth(shares);
    return 0;
}
