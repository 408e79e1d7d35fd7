// chain SECONDS DEPTH: a goroutine burns below first > second > third > step > first > … > work, DEPTH functions deep; another
// one makes garbage after a while, so that the runtime collects it. Prints the CPU clock of the first one's thread as JSON at the end.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

const clockThreadCPU = 3

var sink uint64
var shares [3]float64
var state uint64 = 1

func cpu() float64 {
	var now syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(&now)), 0)
	return float64(now.Sec) + float64(now.Nsec)/1e9
}

// Pseudo-random: work that repeats every millisecond falls into step with a sampler that fires every millisecond.
func varied(rounds uint64) uint64 {
	state = state*6364136223846793005 + 1442695040888963407
	return rounds * (1 + state>>60)
}

// Without a frame.
//
//go:noinline
func alpha(rounds uint64) uint64 {
	value := uint64(1)
	for i := uint64(0); i < rounds; i++ {
		value = value*31 + 1
	}
	return value
}

// With a frame.
//
//go:noinline
func beta(rounds uint64) uint64 {
	var local [64]uint64
	for i := uint64(0); i < rounds; i++ {
		local[i&63] = local[(i+7)&63]*31 + 2
	}
	return local[rounds&63]
}

// Without a frame, called through a pointer.
//
//go:noinline
func gamma_(rounds uint64) uint64 {
	value := uint64(3)
	for i := uint64(0); i < rounds; i++ {
		value = value*31 + 3
	}
	return value
}

//go:noinline
func timed(index int, burn func(uint64) uint64, rounds uint64) {
	rounds = varied(rounds)
	start := cpu()
	sink += burn(rounds)
	shares[index] += cpu() - start
}

//go:noinline
func work() {
	timed(0, alpha, 10000)
	timed(1, beta, 6000)
	timed(2, gamma_, 4000)
	sink++
}

//go:noinline
func first(depth int) {
	if depth > 1 {
		second(depth - 1)
	} else {
		work()
	}
	sink++
}

//go:noinline
func second(depth int) {
	var local [40]int
	local[depth%40] = depth
	if depth > 1 {
		third(depth - 1)
	} else {
		work()
	}
	sink += uint64(local[depth%40])
}

type step interface{ step(depth int) }
type big struct{ values [20]int }

//go:noinline
func (b *big) step(depth int) {
	if depth > 1 {
		first(depth - 1)
	} else {
		work()
	}
	b.values[depth%20]++
}

var steps step = &big{}

//go:noinline
func third(depth int) {
	defer func() { sink++ }()
	if depth > 1 {
		steps.step(depth - 1)
	} else {
		work()
	}
}

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

//go:noinline
func burnFor(seconds float64, depth int, done chan<- float64) {
	runtime.LockOSThread()
	start := cpu()
	for cpu()-start < seconds {
		first(depth)
	}
	done <- cpu() - start
}

func main() {
	seconds, _ := strconv.ParseFloat(os.Args[1], 64)
	depth, _ := strconv.Atoi(os.Args[2])
	done := make(chan float64)
	go burnFor(seconds, depth, done)
	// The first samples of a process hold a copy of one stack, and the garbage collector has two.
	time.Sleep(200 * time.Millisecond)
	for {
		select {
		case used := <-done:
			fmt.Printf("{\"main.alpha\": %.6f, \"main.beta\": %.6f, \"main.gamma_\": %.6f, \"cpu_seconds\": %.6f}\n",
				shares[0], shares[1], shares[2], used)
			return
		default:
			grow(12)
		}
	}
}
