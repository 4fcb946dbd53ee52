"""Permanent filter for the system calls of a process and its threads.

The filter denies calls that reading a document does not need: sockets, access to other
processes, starting programs, changes to files, mounts, tracing, and kernel interfaces
with a history of vulnerabilities. System calls newer than the table fail with ENOSYS,
as on a kernel without them. The table is a deny-list, because the calls of an allocator
or an interpreter change with its version.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

__all__ = ["deny_system_calls", "is_supported"]

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

# Instructions of classic BPF, from linux/bpf_common.h.
_LOAD, _RETURN = 0x20, 0x06
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_ANY_BIT = 0x15, 0x25, 0x45
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000

# Offsets in seccomp_data of linux/seccomp.h. Both machines are little-endian, so the
# lower half of an argument comes first.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table and AUDIT_ARCH of each machine."""

_NEWEST = 462  # mseal

_DENIED: dict[str, tuple[int | None, int | None]] = {
    # The network
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # Programs and other processes
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "setrlimit": (160, 164),
    # Shared memory and queues
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # Changes to files. Opening a file for writing is denied by `_OPEN_CALLS`.
    "creat": (85, None),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # Mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    # Users and rights
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capset": (126, 91),
    # The kernel
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "personality": (135, 92),
    "ioperm": (173, None),
    "iopl": (172, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
}

# These calls fail with ENOSYS, so that callers fall back to an older call. A filter
# cannot check their arguments, because it has no access to memory.
_ABSENT = {"clone3": (435, 435), "openat2": (437, 437)}

_OWN_PROCESS_ONLY = {"kill": (62, 129), "tgkill": (234, 131)}
"""Calls whose first argument must be the id of this process."""

_CLONE = (56, 220)
_CLONE_THREAD = 0x10000
_OPEN_CALLS = {
    2: (2, None),
    3: (257, 56),
}
"""Numbers of open and openat by the position of their flags argument, from 1."""
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PRLIMIT64 = (302, 261)
_IOCTL, _FCNTL = (16, 29), (72, 25)
# TIOCSTI and TIOCLINUX insert input into a terminal. FIOSETOWN and SIOCSPGRP, and
# F_SETOWN, F_SETSIG and F_SETOWN_EX of fcntl, select the process that receives the
# signals of a file.
_DENIED_IOCTLS = (0x5412, 0x541C, 0x8901, 0x8902)
_DENIED_FCNTLS = (8, 10, 15)


def is_supported() -> bool:
    """Return whether the kernel and the architecture support the filter."""
    if platform.machine() not in _MACHINES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # A null filter fails with EFAULT where the kernel supports filters.
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def deny_system_calls(*, may_open_files: bool) -> bool:
    """Install the filter for the calling thread and the threads it starts.

    The filter is permanent and requires PR_SET_NO_NEW_PRIVS. With `may_open_files`,
    files can be opened for reading, otherwise not at all. Returns False if the kernel
    or the architecture does not support filters.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _build_program(*machine, os.getpid(), may_open_files=may_open_files)
    code = ctypes.create_string_buffer(program, len(program))
    address = ctypes.addressof(code)
    # struct sock_fprog: the number of instructions, padding, and their address.
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, address))
    libc = ctypes.CDLL(None, use_errno=True)
    status: int = libc.prctl(
        _PR_SET_SECCOMP,
        ctypes.c_ulong(_SECCOMP_MODE_FILTER),
        header,
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
    return status == 0


def _build_program(
    column: int, architecture: int, pid: int, *, may_open_files: bool
) -> bytes:
    """Return the filter as a BPF program.

    Each rule that does not return leaves the number of the call in the accumulator.
    """
    denied, absent = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, denied),
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_GREATER, _NEWEST, 0, 1),
        _instruction(_RETURN, absent),
    ]
    for numbers in _DENIED.values():
        code += _rule(numbers[column], [_instruction(_RETURN, denied)])
    for numbers in _ABSENT.values():
        code += _rule(numbers[column], [_instruction(_RETURN, absent)])
    deny, allow = _instruction(_RETURN, denied), _instruction(_RETURN, _ALLOW)
    for numbers in _OWN_PROCESS_ONLY.values():
        check = [_argument(0), _instruction(_JUMP_EQUAL, pid, 1, 0), deny, allow]
        code += _rule(numbers[column], check)
    check = [
        _argument(0),
        _instruction(_JUMP_ANY_BIT, _CLONE_THREAD, 1, 0),
        deny,
        allow,
    ]
    code += _rule(_CLONE[column], check)
    for place, numbers in _OPEN_CALLS.items():
        flags = _argument(place - 1)
        check = [flags, _instruction(_JUMP_ANY_BIT, _WRITE_FLAGS, 0, 1), deny, allow]
        if not may_open_files:
            check = [deny]
        code += _rule(numbers[column], check)
    # prlimit64 may read limits: its third argument, the pointer to new limits, must be
    # null.
    lower, upper = _argument(2), _argument(2, upper=True)
    is_null = [lower, _instruction(_JUMP_EQUAL, 0, 1, 0), deny]
    check = [*is_null, upper, _instruction(_JUMP_EQUAL, 0, 1, 0), deny, allow]
    code += _rule(_PRLIMIT64[column], check)
    for numbers, commands in ((_IOCTL, _DENIED_IOCTLS), (_FCNTL, _DENIED_FCNTLS)):
        check = [_argument(1)]
        for command in commands:
            check += [_instruction(_JUMP_EQUAL, command, 0, 1), deny]
        code += _rule(numbers[column], [*check, allow])
    return b"".join([*code, allow])


def _rule(number: int | None, instructions: list[bytes]) -> list[bytes]:
    """Return `instructions` preceded by a test for the number of a call.

    Returns no instructions if `number` is None, for a call that does not exist on the
    architecture.
    """
    if number is None:
        return []
    return [_instruction(_JUMP_EQUAL, number, 0, len(instructions)), *instructions]


def _argument(index: int, *, upper: bool = False) -> bytes:
    """Return the instruction that loads the lower or upper half of an argument."""
    return _instruction(_LOAD, _ARGUMENTS + 8 * index + 4 * upper)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
