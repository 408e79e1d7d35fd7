// coroutines SECONDS: burns in a coroutine that another coroutine resumes, and in the function that resumes both. Prints
// its own CPU clock as JSON at the end.
#include <coroutine>
#include <exception>

#include "chain.h"

namespace {
double shares[3];

// Something after a call, so that it is no jump.
void done(unsigned long result) { sink = sink + result; }
}

namespace shop {

struct Lines {
    struct promise_type {
        long value = 0;
        Lines get_return_object() { return Lines{std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(long value_) noexcept {
            value = value_;
            return {};
        }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
    std::coroutine_handle<promise_type> handle;

    // What the coroutine yields next.
    KEEP long next() {
        handle.resume();
        done(0);
        return handle.promise().value;
    }
};

KEEP void timed(unsigned long (*burner)(long), long rounds, double &seconds) {
    double start = cpu();
    done(burner(varied(rounds)));
    seconds += cpu() - start;
}

Lines read_lines(long salt) {
    for (;;) {
        timed(alpha, 10000, shares[0]);
        co_yield salt;
    }
}

Lines number_lines(long salt) {
    Lines inner = read_lines(salt);
    for (;;) {
        long line = inner.next();
        timed(beta, 6000, shares[1]);
        co_yield line + 1;
    }
}

}  // namespace shop

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    double seconds = atof(argv[1]);
    shop::Lines lines = shop::number_lines(1);
    while (cpu() < seconds) {
        done(lines.next());
        shop::timed(gamma_, 4000, shares[2]);
    }
    print_truth(shares);
    return 0;
}
