#include "textflag.h"

// A call is nine words: the number, six arguments, the error that is no failure, the mode (clone.go has the
// same layout). The child has no stack of its own and uses registers only, since with CLONE_VM a push would
// change what the parent finds on its stack.

// func cloneAndRun(args *cloneArgs, size uintptr, program *call, failed *failure, all, old *uint64) (pid int)
TEXT ·cloneAndRun(SB), NOSPLIT, $0-56
	MOVQ $14, AX			// rt_sigprocmask(SIG_SETMASK, all, old, 8): no handler runs in the child
	MOVQ $2, DI
	MOVQ all+32(FP), SI
	MOVQ old+40(FP), DX
	MOVQ $8, R10
	SYSCALL
	MOVQ program+16(FP), R12
	MOVQ failed+24(FP), R13
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ $435, AX			// clone3; the parent goes on when the child has executed or ended
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	MOVQ AX, R12
	MOVQ $14, AX			// rt_sigprocmask(SIG_SETMASK, old, nil, 8)
	MOVQ $2, DI
	MOVQ old+40(FP), SI
	XORQ DX, DX
	MOVQ $8, R10
	SYSCALL
	MOVQ R12, pid+48(FP)
	RET

child:
	XORQ BX, BX			// the result of the call before
next:
	MOVQ 8(R12), DI
	CMPQ 64(R12), $1
	JNE  plain
	MOVQ BX, DI
plain:
	MOVQ 0(R12), AX
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	MOVQ 48(R12), R9
	SYSCALL
	CMPQ AX, $-4095
	JCC  error
	MOVQ AX, BX
	CMPQ 64(R12), $2
	JEQ  expect
	CMPQ 64(R12), $3
	JEQ  decimal
advance:
	ADDQ $72, R12
	JMP  next

expect:
	CMPQ AX, 16(R12)
	JEQ  advance
	MOVQ $-3, AX			// ESRCH
error:
	NEGQ AX
	CMPQ AX, 56(R12)
	JEQ  advance
	CMPQ 56(R12), $-1
	JEQ  advance
	MOVQ R12, 0(R13)
	MOVQ AX, 8(R13)
	MOVQ $231, AX			// exit_group(127)
	MOVQ $127, DI
	SYSCALL
	INT  $3

decimal:				// writes AX below 10^10 in decimal at the second argument, and a NUL
	MOVQ 16(R12), R8
	MOVQ $1000000000, R9
	XORQ SI, SI			// not 0 once a digit was written
digit:
	XORQ DX, DX
	DIVQ R9
	MOVQ DX, R10
	ORQ  AX, SI
	CMPQ R9, $1
	JEQ  put
	TESTQ SI, SI
	JEQ  skip
put:
	ADDQ $48, AX
	MOVB AX, 0(R8)
	INCQ R8
skip:
	CMPQ R9, $1
	JEQ  written
	MOVQ R9, AX
	XORQ DX, DX
	MOVQ $10, CX
	DIVQ CX
	MOVQ AX, R9
	MOVQ R10, AX
	JMP  digit
written:
	MOVB $0, 0(R8)
	JMP  advance
