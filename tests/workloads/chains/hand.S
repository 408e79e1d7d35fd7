// Hand-written functions of the kinds that compilers seldom make. The burners take rounds; the others call the function
// they are given.
    .text

// A loop of \rounds, without a frame of its own.
.macro LOOP rounds
    mov $1, %eax
771:
    imul $31, %rax, %rax
    inc %rax
    dec \rounds
    jnz 771b
.endm

.macro BEGIN name
    .globl \name
    .type \name, @function
\name:
.endm

.macro END name
    .size \name, . - \name
.endm

// The CFA is in a register that only the innermost frame has.
BEGIN burn_r10
    .cfi_startproc
    lea 8(%rsp), %r10
    .cfi_def_cfa %r10, 0
    and $-64, %rsp
    sub $128, %rsp
    LOOP %rdi
    lea -8(%r10), %rsp
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
END burn_r10

BEGIN burn_r11
    .cfi_startproc
    mov %rsp, %r11
    .cfi_def_cfa %r11, 8
    sub $256, %rsp
    and $-32, %rsp
    LOOP %rdi
    mov %r11, %rsp
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
END burn_r11

// Below the stack pointer.
BEGIN burn_red_zone
    .cfi_startproc
    movq $0, -128(%rsp)
772:
    incq -128(%rsp)
    mov %rbp, -8(%rsp)
    dec %rdi
    jnz 772b
    mov -128(%rsp), %rax
    ret
    .cfi_endproc
END burn_red_zone

// The frame changes with every instruction.
BEGIN burn_pushes
    .cfi_startproc
773:
    push %rbx
    .cfi_adjust_cfa_offset 8
    push %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    push %r12
    .cfi_adjust_cfa_offset 8
    xor %ebp, %ebp
    push %r13
    .cfi_adjust_cfa_offset 8
    sub $40, %rsp
    .cfi_adjust_cfa_offset 40
    xor %eax, %eax
    add $40, %rsp
    .cfi_adjust_cfa_offset -40
    pop %r13
    .cfi_adjust_cfa_offset -8
    pop %r12
    .cfi_adjust_cfa_offset -8
    pop %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    pop %rbx
    .cfi_adjust_cfa_offset -8
    dec %rdi
    jnz 773b
    ret
    .cfi_endproc
END burn_pushes

// Two ways out; what holds after the first is what held before it.
BEGIN burn_states
    .cfi_startproc
774:
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    sub $64, %rsp
    dec %rdi
    jnz 775f
    .cfi_remember_state
    leave
    .cfi_def_cfa %rsp, 8
    .cfi_restore %rbp
    ret
    .cfi_restore_state
775:
    mov %rdi, -8(%rbp)
    leave
    .cfi_def_cfa %rsp, 8
    .cfi_restore %rbp
    jmp 774b
    .cfi_endproc
END burn_states

// CFA = *(rsp + 32) + 8.
.macro KEPT_IN_MEMORY
    mov %rsp, %rax
    .cfi_def_cfa_register %rax
    sub $192, %rsp
    and $-64, %rsp
    mov %rax, 32(%rsp)
    // DW_CFA_def_cfa_expression: DW_OP_breg7 32, DW_OP_deref, DW_OP_plus_uconst 8
    .cfi_escape 0x0f, 5, 0x77, 32, 0x06, 0x23, 8
.endm

BEGIN burn_deref
    .cfi_startproc
    KEPT_IN_MEMORY
    LOOP %rdi
    mov 32(%rsp), %rsp
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
END burn_deref

BEGIN via_deref
    .cfi_startproc
    KEPT_IN_MEMORY
    call *%rdi
    mov 32(%rsp), %rsp
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
END via_deref

// No unwind information, only a frame pointer.
BEGIN burn_without_cfi
    push %rbp
    mov %rsp, %rbp
    sub $48, %rsp
    LOOP %rdi
    leave
    ret
END burn_without_cfi

BEGIN via_without_cfi
    push %rbp
    mov %rsp, %rbp
    sub $48, %rsp
    call *%rdi
    leave
    ret
END via_without_cfi

// On a stack of its own: the function, then the end of that stack.
BEGIN via_own_stack
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    mov %rsi, %rsp
    call *%rdi
    leave
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
END via_own_stack

// The call is the last instruction: the return address is in another function, with another frame.
BEGIN via_last_call
    .cfi_startproc
    sub $24, %rsp
    .cfi_def_cfa_offset 32
    call *%rdi
    .cfi_endproc
END via_last_call

BEGIN after_last_call
    .cfi_startproc
    .cfi_def_cfa_offset 512
    nop
    .cfi_def_cfa_offset 32
    add $24, %rsp
    .cfi_def_cfa_offset 8
    ret
    .cfi_endproc
END after_last_call

// The CFA is in a register that the called function saves, as in glibc's _dl_runtime_resolve: %rbx.
BEGIN via_kept
    .cfi_startproc
    push %rbx
    .cfi_def_cfa_offset 16
    .cfi_offset %rbx, -16
    mov %rsp, %rbx
    .cfi_def_cfa_register %rbx
    and $-64, %rsp
    sub $320, %rsp
    call keeps
    mov %rbx, %rsp
    .cfi_def_cfa_register %rsp
    pop %rbx
    .cfi_def_cfa_offset 8
    .cfi_restore %rbx
    ret
    .cfi_endproc
END via_kept

// More than 128 KiB, and not a multiple of 16.
BEGIN via_large_frame
    .cfi_startproc
    sub $196616, %rsp
    .cfi_def_cfa_offset 196624
    movq $0, (%rsp)
    call *%rdi
    add $196616, %rsp
    .cfi_def_cfa_offset 8
    ret
    .cfi_endproc
END via_large_frame

// The loop lies across a border of 64 KiB of the file, and its frame differs before and after it.
    .p2align 16
    .skip 65536 - 8, 0xcc
BEGIN burn_across
    .cfi_startproc
776:
    push %rbx
    .cfi_adjust_cfa_offset 8
    push %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    sub $32, %rsp
    .cfi_adjust_cfa_offset 32
    // Here it is.
    xor %ebp, %ebp
    add $32, %rsp
    .cfi_adjust_cfa_offset -32
    pop %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    pop %rbx
    .cfi_adjust_cfa_offset -8
    dec %rdi
    jnz 776b
    ret
    .cfi_endproc
END burn_across

    .section .note.GNU-stack, "", @progbits
