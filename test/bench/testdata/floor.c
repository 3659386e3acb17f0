/* The C floor: what must be done and nothing else. vfork, two log pipes a child, one epoll set, wait.
 * Usage: floor start|restart|storm N SERVICE ARGUMENTS…   (the child's last argument is its index)
 *   start    start N; on SIGTERM end them all, wait for all, exit
 *   restart  start N, and start each one that ends again, until SIGTERM; print how many were started
 *   drain    start N, read what they write until all have closed their pipes, print how many bytes came; where FLOOR_FILE
 *            names a file they are appended to it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct child { pid_t pid; int fd[2]; };
static struct child *children;
static int n, poller, null;
static char **args;
static long started;

static void start(int i) {
	static char index[16];
	int out[2], err[2];
	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) exit(3);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	snprintf(index, sizeof index, "%d", i);
	int last = 0;
	while (args[last]) last++;
	args[last - 1] = index;
	pid_t pid = vfork();
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, 0);
		setsid();
		dup2(null, 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		execv(args[0], args);
		_exit(127);
	}
	if (pid < 0) exit(4);
	close(out[1]);
	close(err[1]);
	children[i] = (struct child){pid, {out[0], err[0]}};
	for (int k = 0; k < 2; k++) {
		struct epoll_event e = {.events = EPOLLIN, .data.fd = children[i].fd[k]};
		epoll_ctl(poller, EPOLL_CTL_ADD, children[i].fd[k], &e);
	}
	started++;
}

static void end(int i) {
	for (int k = 0; k < 2; k++) {
		epoll_ctl(poller, EPOLL_CTL_DEL, children[i].fd[k], 0);
		close(children[i].fd[k]);
	}
	children[i].pid = 0;
}

static int find(pid_t pid) {
	for (int i = 0; i < n; i++)
		if (children[i].pid == pid) return i;
	return -1;
}

static int stopping, again;

static int drain(void) {
	static char buf[1 << 16];
	const char *path = getenv("FLOOR_FILE");
	int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640) : -1;
	long long bytes = 0;
	for (int open = 2 * n; open > 0;) {
		struct epoll_event events[256];
		int k = epoll_wait(poller, events, 256, -1);
		for (int j = 0; j < k; j++) {
			ssize_t got = read(events[j].data.fd, buf, sizeof buf);
			if (got > 0) bytes += got;
			if (got > 0 && file >= 0 && write(file, buf, got) != got) return 5;
			if (got == 0) { epoll_ctl(poller, EPOLL_CTL_DEL, events[j].data.fd, 0); open--; }
		}
	}
	printf("%lld\n", bytes);
	return 0;
}

/* reap collects all that are dead before any is started again. */
static int reap(int *dead) {
	int count = 0;
	pid_t pid;
	while (count < n && (pid = waitpid(-1, 0, WNOHANG)) > 0) {
		int i = find(pid);
		if (i >= 0) { end(i); dead[count++] = i; }
	}
	return count;
}

int main(int argc, char **argv) {
	if (argc < 5) return 2;
	again = argv[1][0] == 'r';
	int draining = argv[1][0] == 'd';
	n = atoi(argv[2]);
	args = argv + 3;
	children = calloc(n, sizeof *children);
	int *dead = calloc(n, sizeof *dead), left = n;
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	poller = epoll_create1(EPOLL_CLOEXEC);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, 0);
	int sfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	struct epoll_event e = {.events = EPOLLIN, .data.fd = sfd};
	if (!draining) epoll_ctl(poller, EPOLL_CTL_ADD, sfd, &e);
	for (int i = 0; i < n; i++) start(i);
	if (draining) return drain();
	for (;;) {
		struct epoll_event events[256];
		int k = epoll_wait(poller, events, 256, -1);
		for (int j = 0; j < k; j++) {
			if (events[j].data.fd == sfd) {
				struct signalfd_siginfo s;
				while (read(sfd, &s, sizeof s) > 0)
					if (s.ssi_signo == SIGTERM) {
						stopping = 1;
						for (int i = 0; i < n; i++)
							if (children[i].pid) kill(children[i].pid, SIGTERM);
					}
				continue;
			}
			char buf[4096];
			if (read(events[j].data.fd, buf, sizeof buf) <= 0) epoll_ctl(poller, EPOLL_CTL_DEL, events[j].data.fd, 0);
		}
		int count = reap(dead);
		if (stopping || !again) left -= count;
		else for (int j = 0; j < count; j++) start(dead[j]);
		if (stopping && left <= 0) {
			printf("%ld\n", started);
			return 0;
		}
	}
}
