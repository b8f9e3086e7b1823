/* Counts the instructions that are executed in a range of code, on any processor that runs them.
 *
 * Within the range the processor stops after each instruction (the trap flag); outside of it code
 * runs at full speed, and the range is not executable, so that entering it is a fault. Emulators
 * and valgrind lack AVX-512, and counters of the processor are rarely open to virtual machines.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { TRAP_FLAG = 0x100 };

static uintptr_t begin, size;
static uint64_t count;

static int inside(uintptr_t address) { return address - begin < size; }

static int protect(int protection) { return mprotect((void *)begin, size, protection); }

static void on_fault(int signal_number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  (void)info;
  if (!inside((uintptr_t)registers[REG_RIP]) || protect(PROT_READ | PROT_EXEC)) {
    signal(signal_number, SIG_DFL); /* not ours: let it happen again */
    return;
  }
  registers[REG_EFL] |= TRAP_FLAG;
}

static void on_trap(int signal_number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  (void)signal_number, (void)info;
  count++;
  if (inside((uintptr_t)registers[REG_RIP])) return;
  registers[REG_EFL] &= ~TRAP_FLAG;
  protect(PROT_READ);
}

/* Begins to count in the pages from start to stop; 0 if that works. */
int count_start(uintptr_t start, uintptr_t stop) {
  struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  begin = start, size = stop - start, count = 0;
  if (sigaction(SIGSEGV, &fault, NULL) || sigaction(SIGTRAP, &trap, NULL)) return -1;
  return protect(PROT_READ);
}

/* Ends it, and returns the number of instructions. */
uint64_t count_stop(void) {
  protect(PROT_READ | PROT_EXEC);
  signal(SIGSEGV, SIG_DFL), signal(SIGTRAP, SIG_DFL);
  return count;
}
