// A page of code that runs wherever it is mapped: no data, no calls, no relocations. It is the entry point of the file.
__attribute__((noinline)) long hostile_burn(long rounds) {
    long x = rounds;
    for (long i = 0; i < rounds; i++) {
        x = x * 31 + i;
        __asm__ volatile("" : "+r"(x));
    }
    return x;
}
