/* The smallest service there is: it says when it began to run, then waits for its end. No libc where that is easy, so that
 * what is measured is the supervisor. Usage: service MODE SOCKET INDEX
 *   stay  send {CLOCK_MONOTONIC in ns, index, pid} as a datagram to SOCKET, then wait for a signal
 *   quick add a byte to the file SOCKET and exit with 1 at once
 *   true  exit with 0 at once
 * service flood SOCKET GO LINES INDEX opens the FIFO GO, sends the datagram, waits until nobody holds GO open for writing any
 * more, and writes so many numbered lines of 100 bytes, 655 at a time.
 */
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#if defined(__x86_64__) && defined(NOLIBC)
static long call(long n, long a, long b, long c, long d, long e, long f) {
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return r;
}
#else
#include <unistd.h>
#define call syscall
#endif

static char block[65500];

static long number(const char *p) {
	long v = 0;
	for (; *p; p++) v = v * 10 + (*p - '0');
	return v;
}

/* advance adds 655 to the decimal number that ends at p. */
static void advance(char *p) {
	static const char by[3] = {5, 5, 6};
	for (int k = 0, carry = 0; k < 3 || carry; k++, p--) {
		int d = *p - '0' + carry + (k < 3 ? by[k] : 0);
		carry = d > 9;
		*p = '0' + (carry ? d - 10 : d);
	}
}

static int flood(int fd, long lines) {
	char c;
	while (call(SYS_read, fd, (long)&c, 1, 0, 0, 0) > 0) {}
	for (long i = 0; i < (long)sizeof block; i++) block[i] = i % 100 == 99 ? '\n' : i % 100 == 9 ? ' ' : 'x';
	for (long i = 0; i < 655; i++)
		for (long k = 8, v = i; k >= 0; k--, v /= 10) block[i * 100 + k] = '0' + v % 10;
	for (long at = 0; at < lines;) {
		long n = lines - at < 655 ? lines - at : 655;
		for (long i = 0; at > 0 && i < n; i++) advance(block + i * 100 + 8);
		for (long done = 0; done < n * 100;) {
			long w = call(SYS_write, 1, (long)block + done, n * 100 - done, 0, 0, 0);
			if (w <= 0) return 1;
			done += w;
		}
		at += n;
	}
	return 0;
}

static int run(int argc, char **argv) {
	if (argc < 2 || argv[1][0] == 't') return 0;
	if (argc < 4) return 2;
	if (argv[1][0] == 'q') {
		int count = call(SYS_open, (long)argv[2], O_WRONLY | O_APPEND, 0, 0, 0, 0);
		call(SYS_write, count, (long)"x", 1, 0, 0, 0);
		return 1;
	}
	struct { uint64_t ns; uint32_t index, pid; } word;
	struct timespec now;
	call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0, 0);
	word.ns = (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
	word.index = number(argv[argc - 1]);
	word.pid = call(SYS_getpid, 0, 0, 0, 0, 0, 0);
	int go = argv[1][0] == 'f' ? call(SYS_open, (long)argv[3], 0, 0, 0, 0, 0) : -1;
	struct sockaddr_un to;
	size_t i;
	to.sun_family = AF_UNIX;
	for (i = 0; argv[2][i] && i < sizeof to.sun_path - 1; i++) to.sun_path[i] = argv[2][i];
	to.sun_path[i] = 0;
	int fd = call(SYS_socket, AF_UNIX, SOCK_DGRAM, 0, 0, 0, 0);
	call(SYS_sendto, fd, (long)&word, sizeof word, 0, (long)&to, sizeof(sa_family_t) + i + 1);
	call(SYS_close, fd, 0, 0, 0, 0, 0);
	if (go >= 0) return flood(go, number(argv[4]));
	for (;;) call(SYS_ppoll, 0, 0, 0, 0, 0, 0);
}

#if defined(__x86_64__) && defined(NOLIBC)
__attribute__((used)) void begin(long *stack) {
	call(SYS_exit_group, run((int)stack[0], (char **)(stack + 1)), 0, 0, 0, 0, 0);
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#else
int main(int argc, char **argv) { return run(argc, argv); }
#endif
