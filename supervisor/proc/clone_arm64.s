#include "textflag.h"

// A call is nine words: the number, six arguments, the error that is no failure, the mode (clone.go has the
// same layout). The child has no stack of its own and uses registers only, since with CLONE_VM a push would
// change what the parent finds on its stack.

// func cloneAndRun(args *cloneArgs, size uintptr, program *call, failed *failure, all, old *uint64) (pid int)
TEXT ·cloneAndRun(SB), NOSPLIT, $0-56
	MOVD $2, R0			// rt_sigprocmask(SIG_SETMASK, all, old, 8): no handler runs in the child
	MOVD all+32(FP), R1
	MOVD old+40(FP), R2
	MOVD $8, R3
	MOVD $135, R8
	SVC
	MOVD program+16(FP), R19
	MOVD failed+24(FP), R20
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD $435, R8			// clone3; the parent goes on when the child has executed or ended
	SVC
	CBZ  R0, child
	MOVD R0, R19
	MOVD $2, R0			// rt_sigprocmask(SIG_SETMASK, old, nil, 8)
	MOVD old+40(FP), R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $135, R8
	SVC
	MOVD R19, pid+48(FP)
	RET

child:
	MOVD ZR, R21			// the result of the call before
next:
	MOVD 64(R19), R22
	MOVD 8(R19), R0
	CMP  $1, R22
	BNE  plain
	MOVD R21, R0
plain:
	MOVD 0(R19), R8
	MOVD 16(R19), R1
	MOVD 24(R19), R2
	MOVD 32(R19), R3
	MOVD 40(R19), R4
	MOVD 48(R19), R5
	SVC
	CMN  $4095, R0
	BCS  error
	MOVD R0, R21
	CMP  $2, R22
	BEQ  expect
	CMP  $3, R22
	BEQ  decimal
advance:
	ADD  $72, R19
	B    next

expect:
	MOVD 16(R19), R1
	CMP  R1, R0
	BEQ  advance
	MOVD $-3, R0			// ESRCH
error:
	NEG  R0, R0
	MOVD 56(R19), R1
	CMP  R1, R0
	BEQ  advance
	CMN  $1, R1
	BEQ  advance
	MOVD R19, 0(R20)
	MOVD R0, 8(R20)
	MOVD $127, R0
	MOVD $94, R8			// exit_group(127)
	SVC
	BRK  $1

decimal:				// writes R0 below 10^10 in decimal at the second argument, and a NUL
	MOVD 16(R19), R1
	MOVD $1000000000, R2
	MOVD ZR, R3			// not 0 once a digit was written
	MOVD $10, R4
digit:
	UDIV R2, R0, R5
	MSUB R2, R0, R5, R0
	ORR  R5, R3, R3
	CMP  $1, R2
	BEQ  put
	CBZ  R3, skip
put:
	ADD  $48, R5, R5
	MOVB R5, (R1)
	ADD  $1, R1, R1
skip:
	CMP  $1, R2
	BEQ  written
	UDIV R4, R2, R2
	B    digit
written:
	MOVB ZR, (R1)
	B    advance
