//go:build !zinit_notify

#include "textflag.h"

// The kernel calls these with the signal in DI, siginfo_t in SI (si_code at 8, si_pid at 16), ucontext_t in DX (uc_sigmask at
// 296), on the thread's signal stack, with every signal blocked. They may use any register: sigreturn(2) restores all.

DATA ·onSignalPC(SB)/8, $onSignal<>(SB)
GLOBL ·onSignalPC(SB), RODATA, $8
DATA ·onFaultPC(SB)/8, $onFault<>(SB)
GLOBL ·onFaultPC(SB), RODATA, $8
DATA ·onUrgentPC(SB)/8, $onUrgent<>(SB)
GLOBL ·onUrgentPC(SB), RODATA, $8
DATA ·onFreezePC(SB)/8, $onFreeze<>(SB)
GLOBL ·onFreezePC(SB), RODATA, $8

// onSignal counts, blocks the signal in the thread that took it, and rings. What this process sends to itself (SIGPIPE)
// is nothing that happened.
TEXT onSignal<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL DI, DI
	CMPL 8(SI), $0
	JGT  count
	MOVL ·self(SB), AX
	CMPL 16(SI), AX
	JEQ  done
count:
	MOVQ ·counts(SB), AX
	LOCK
	INCL (AX)(DI*4)
	CMPL ·keep(SB), $0
	JNE  ring
	CMPL DI, $22 // SIGTTOU stays open where it is open: the main thread never takes it
	JEQ  ring
	LEAQ -1(DI), CX
	BTSQ CX, 296(DX)
ring:
	MOVL ·bell(SB), DI
	LEAQ ·one(SB), SI
	MOVL $8, DX
	MOVL $1, AX // write
	SYSCALL
done:
	RET

// onFault leaves a fault of this program to the runtime, which makes a panic of it. One that somebody sent is counted; it
// must not be blocked: the kernel ends a process that blocks the fault it makes.
TEXT onFault<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	CMPL 8(SI), $0
	JGT  fault
	MOVL DI, DI
	MOVQ ·counts(SB), AX
	LOCK
	INCL (AX)(DI*4)
	MOVL ·bell(SB), DI
	LEAQ ·one(SB), SI
	MOVL $8, DX
	MOVL $1, AX // write
	SYSCALL
	RET
fault:
	MOVQ ·runtimePC(SB), AX
	JMP  AX

// onUrgent leaves the runtime the signal that its threads send each other to interrupt a goroutine.
TEXT onUrgent<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	CMPL 8(SI), $-6 // SI_TKILL
	JNE  other
	MOVL ·self(SB), AX
	CMPL 16(SI), AX
	JNE  other
	MOVQ ·runtimePC(SB), AX
	JMP  AX
other:
	JMP  onSignal<>(SB)

// onFreeze blocks in the thread all that can be blocked.
TEXT onFreeze<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	CMPL ·freezing(SB), $0
	JNE  freeze
	JMP  onSignal<>(SB)
freeze:
	MOVQ ·blockable(SB), AX
	ORQ  AX, 296(DX)
	LOCK
	INCL ·frozen(SB)
	RET
