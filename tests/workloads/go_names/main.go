// Prints its own stack from within inlined calls, as the runtime sees it: "address function file line".
package main

import (
	"fmt"
	"os"
	"runtime"
)

type shape struct{ sides int }

func main() {
	outer(shape{3})
	func() { generic("x") }()
	defer recovered()
	var none *shape
	fmt.Println(none.sides)
}

//go:noinline
func outer(s shape) int { return 1 + s.middle(2) }

func (s shape) middle(n int) int { return inner(n) + s.sides }

func inner(n int) int { show(); return n }

//go:noinline
func generic[T any](value T) { show() }

func recovered() { recover(); show() }

//go:noinline
func show() {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		fmt.Fprintf(os.Stdout, "%x %s %s %d\n", frame.PC, frame.Function, frame.File, frame.Line)
		if !more {
			break
		}
	}
	fmt.Println()
}
