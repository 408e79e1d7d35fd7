// exceptions SECONDS: burns while exceptions are on their way: in a catch block, in destructors that a landing pad calls,
// in the destructor of the exception itself, and in a function that qsort calls. Prints its own CPU clock as JSON at
// the end.
#include <stdexcept>

#include "chain.h"

namespace {

// Something after a call, so that it is no jump.
void done(unsigned long result) { sink = sink + result; }

double caught_seconds, unwound_seconds, thrown_seconds, sorted_seconds;

#define BURNER(name, salt)                                                          \
    extern "C" KEEP unsigned long name(long rounds) {                               \
        unsigned long state = salt;                                                 \
        for (long i = 0; i < rounds; i++) {                                         \
            state = state * 31 + salt;                                              \
            __asm__ volatile("" : "+r"(state));                                     \
        }                                                                           \
        return state;                                                               \
    }
}  // namespace

BURNER(burn_caught, 1)
BURNER(burn_unwound, 2)
BURNER(burn_thrown, 3)
BURNER(burn_sorted, 4)

namespace shop {

KEEP void burn(unsigned long (*burner)(long), long rounds, double &seconds) {
    double start = cpu();
    done(burner(varied(rounds)));
    seconds += cpu() - start;
}

// Lives while the exception passes: its destructor is called by a landing pad.
struct Guard {
    KEEP ~Guard() {
        burn(burn_unwound, 12000, unwound_seconds);
        done(0);
    }
};

struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
    KEEP ~Refused() override {
        burn(burn_thrown, 8000, thrown_seconds);
        done(0);
    }
};

KEEP void refuse(int depth) {
    if (depth == 0) throw Refused("no");
    refuse(depth - 1);
    done(0);
}

KEEP void guarded(int depth) {
    Guard guard;
    refuse(depth);
    done(0);
}

template <typename T>
KEEP void attempt(T depth) {
    try {
        guarded(depth);
    } catch (const std::exception &error) {
        burn(burn_caught, 20000, caught_seconds);
        done(error.what()[0]);
    }
    done(0);
}

KEEP int compare(const void *a, const void *b) {
    burn(burn_sorted, 4000, sorted_seconds);
    done(0);
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

KEEP void sort() {
    int orders[3] = {2, 1, 3};
    qsort(orders, 3, sizeof *orders, compare);
    done(orders[0]);
}

}  // namespace shop

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    double seconds = atof(argv[1]);
    while (cpu() < seconds) {
        shop::attempt<int>(3);
        shop::sort();
    }
    printf("{\"burn_caught\": %.6f, \"burn_unwound\": %.6f, \"burn_thrown\": %.6f, \"burn_sorted\": %.6f, "
           "\"cpu_seconds\": %.6f}\n", caught_seconds, unwound_seconds, thrown_seconds, sorted_seconds, cpu());
    return 0;
}
