// Burns CPU in known ways. A timer interrupts it; the handler, in C, writes the registers of what it interrupted to
// standard output and waits for a byte, so that a reader sees the stack as it was.
package main

/*
#cgo CFLAGS: -O1 -fno-omit-frame-pointer
void start(void);
void c_outer(int back);
*/
import "C"

import (
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

var sink int

//export callback
func callback() { burn() }

//go:noinline
func burn() {
	for n := 0; n < 2000000; n++ {
		sink += n
	}
}

//go:noinline
func grow(depth int) int {
	var room [2048]byte
	if depth == 0 {
		return 0
	}
	room[depth%2048] = byte(depth)
	return grow(depth-1) + int(room[depth%2048])
}

//go:noinline
func collect() {
	lists := make([][]*int, 0)
	for n := 0; n < 2000; n++ {
		list := make([]*int, 64)
		for m := range list {
			list[m] = new(int)
		}
		lists = append(lists, list)
	}
	runtime.GC()
	runtime.KeepAlive(lists)
}

func main() {
	C.start()
	debug.SetGCPercent(50)
	for {
		switch os.Args[1] {
		case "c":
			C.c_outer(0)
		case "callback":
			C.c_outer(1)
		case "grow":
			done := make(chan int)
			go func() { done <- grow(300) }()
			<-done
		case "collect":
			collect()
		case "clock":
			for n := 0; n < 10000; n++ {
				sink += time.Now().Nanosecond()
			}
		}
	}
}
