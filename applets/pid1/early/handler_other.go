//go:build !amd64 || zinit_notify

package early

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

// Where there is no handler of our own (handler_amd64.s), the runtime's hands signals to a goroutine. A flood can then
// hold up the thread that opens them, and what the last instants before an exec bring is lost.
var keep uint32

func install() {
	// Notify takes a millisecond or two, with a thread to create: until then those that would end the process are ignored.
	fatal := [...]syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGINT, syscall.SIGABRT}
	var found [len(fatal)]sigaction
	for i, n := range fatal {
		sigactionCall(n, &sigaction{handler: sigIgn}, &found[i])
	}
	ch := make(chan os.Signal, 256)
	for i, n := range fatal {
		signal.Notify(ch, n)
		if found[i].handler > sigIgn { // else the runtime itself has just put its handler there
			sigactionCall(n, &found[i], nil)
		}
	}
	all := make([]os.Signal, 0, NSignals)
	for n := 1; n < NSignals; n++ {
		if s := syscall.Signal(n); s != syscall.SIGURG && s != syscall.SIGKILL && s != syscall.SIGSTOP {
			all = append(all, s)
		}
	}
	signal.Notify(ch, all...)
	fillGaps()
	go relay(ch)
}

// fillGaps gives the signals that the runtime leaves to the C library (32, 34) a handler that drops them. The kernel
// shields an init from a signal with the default action only if its main thread does not happen to block it while another
// thread does not: a kill -32 at the wrong instant ended a container. The runtime's own handler would end the process, and
// an ignored signal would stay ignored in every child.
func fillGaps() {
	var handled sigaction
	if sigactionCall(syscall.SIGWINCH, nil, &handled) != 0 || handled.handler <= sigIgn {
		return
	}
	drop := dropSignal
	handled.handler = **(**uintptr)(unsafe.Pointer(&drop))
	for n := syscall.Signal(1); n < NSignals; n++ {
		var now sigaction
		if n != syscall.SIGKILL && n != syscall.SIGSTOP && sigactionCall(n, nil, &now) == 0 && now.handler <= sigIgn {
			sigactionCall(n, &handled, nil)
		}
	}
}

// dropSignal is called by the kernel, as a signal handler: it must stay without a frame and touch nothing.
//
//go:nosplit
//go:noinline
//go:norace
func dropSignal() {}

// relay counts what arrives, so that a flood of one signal can never push out another, and rings the bell.
func relay(ch <-chan os.Signal) {
	for s := range ch {
		if n, ok := s.(syscall.Signal); ok && n >= 0 && int(n) < NSignals {
			counts[n].Add(1)
			Ring()
		}
	}
}

// Freeze does nothing here.
func Freeze() {}
