/* The system calls that are tried, each with arguments that no kernel takes from anybody, root with
 * all capabilities included: a pointer that no process has, a flag, a number or a descriptor that
 * there is not. What the kernel says then tells whether a filter stood before it.
 */
#include <stddef.h>
#include <sys/syscall.h>

#include "probe.h"

#define BAD (-4096L) /* as a pointer: the kernel's own end of the address space, EFAULT for all */
#define ODD (-1L)    /* as flags: all of them; as a number, a size or a descriptor: none */

const struct call calls[] = {
    {"mount", SYS_mount, {BAD, BAD, BAD, 0, BAD}},
    {"fsopen", SYS_fsopen, {BAD, ODD}},
    {"pivot_root", SYS_pivot_root, {BAD, BAD}},
    {"unshare", SYS_unshare, {1}}, /* a bit that means a signal to clone(2), and here nothing */
    {"setns", SYS_setns, {-1, 0}},
    {"clone3", SYS_clone3, {BAD, 0}}, /* smaller than its first version */
    {"bpf", SYS_bpf, {ODD, 0, 0}},
    {"perf_event_open", SYS_perf_event_open, {BAD, 0, -1, -1, ODD}},
    {"keyctl", SYS_keyctl, {ODD}},
    {"add_key", SYS_add_key, {BAD, BAD, BAD, 0, 0}},
    {"io_uring_setup", SYS_io_uring_setup, {0, BAD}},
    {"userfaultfd", SYS_userfaultfd, {ODD}},
    /* Without segments it would drop a kernel that is loaded: it has more than there may be. */
    {"kexec_load", SYS_kexec_load, {0, 1L << 30, BAD, 0xfff0}},
    {"init_module", SYS_init_module, {BAD, 0, BAD}},
    {"finit_module", SYS_finit_module, {-1, BAD, ODD}},
    {"reboot", SYS_reboot, {0, 0, 0, BAD}}, /* neither of its magic numbers */
    {"swapon", SYS_swapon, {BAD, ODD}},
    {"clock_settime", SYS_clock_settime, {1, BAD}}, /* CLOCK_MONOTONIC, which nobody can set */
    {"ptrace", SYS_ptrace, {ODD, -1}},
    {"process_vm_readv", SYS_process_vm_readv, {-1, 0, 0, 0, 0, ODD}},
    {"open_by_handle_at", SYS_open_by_handle_at, {-1, BAD, 0}},
    {"syslog", SYS_syslog, {10}}, /* the size of the kernel's log, the one thing that is asked for */
    {NULL, 0, {0}},
};
