/*
 * pause is the first process of a pod: it holds the pod's namespaces open, reaps the orphans of a
 * pod that shares its process namespace, and ends at once on SIGTERM or SIGINT.
 *
 * It has no C library and no signal handlers. As process 1 it ignores every signal it has not
 * asked for, so it blocks the two that end it and waits for them; SIGCHLD set to "ignore" makes
 * the kernel reap children by itself.
 */
#if defined(__x86_64__)
enum { SYS_rt_sigaction = 13, SYS_rt_sigprocmask = 14, SYS_exit = 60, SYS_rt_sigtimedwait = 128 };
static long call(long n, long a, long b, long c, long d)
{
	long ret;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
enum { SYS_exit = 93, SYS_rt_sigaction = 134, SYS_rt_sigprocmask = 135, SYS_rt_sigtimedwait = 137 };
static long call(long n, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#else
#error "pause: this processor is not supported yet"
#endif

enum { SIG_BLOCK = 0, SIGINT = 2, SIGTERM = 15, SIGCHLD = 17 };

/* The kernel's own struct sigaction. */
struct action { unsigned long handler, flags, restorer, mask; };

__attribute__((noreturn, used)) void _start(void)
{
	unsigned long ends = 1UL << (SIGINT - 1) | 1UL << (SIGTERM - 1);
	struct action ignore = { 1 /* SIG_IGN */, 0, 0, 0 };

	call(SYS_rt_sigaction, SIGCHLD, (long)&ignore, 0, sizeof ends);
	call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&ends, 0, sizeof ends);
	while (call(SYS_rt_sigtimedwait, (long)&ends, 0, 0, sizeof ends) < 0)
		; /* interrupted */
	for (;;)
		call(SYS_exit, 0, 0, 0, 0);
}
