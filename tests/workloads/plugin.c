// A library for dlopens.c: plugin_burn burns in the function called INNER.
static volatile unsigned long sink;

// gcc gives a function that calls nothing no frame of its own, whatever the flags, unless it asks for its address.
#define FRAME __asm__ volatile("" : : "r"(__builtin_frame_address(0)))

__attribute__((noinline, noclone)) void INNER(long rounds) {
    FRAME;
    for (long i = 0; i < rounds; i++) sink = sink * 31 + 1;
}

__attribute__((noinline, noclone)) void plugin_burn(long rounds) {
    INNER(rounds);
    sink++;
}
