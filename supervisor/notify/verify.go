package notify

import "golang.org/x/sys/unix"

// Verify decides whether a word about a service counts. It was sent on the service's own socket; a sender that still
// lives must be in the service's tree, one that has ended (systemd-notify, a shell's child) is accepted by its user: the
// service's or root. alive and member are asked about the sender and, if the message has one, about MAINPID, which must
// live and be in the tree. On false why is one line for the log.
func Verify(w *Word, uid uint32, alive, member func(pid int) bool) (ok bool, why string) {
	if w.OnDescriptor {
		return true, ""
	}
	if reason := verifySender(&w.Sender, uid, alive, member); reason != "" {
		return false, reason
	}
	if m := w.Message.MainPID; m != 0 && !member(m) {
		return false, "MAINPID names a process that is not the service's"
	}
	return true, ""
}

func verifySender(s *unix.Ucred, uid uint32, alive, member func(pid int) bool) string {
	switch {
	case s.Pid > 0 && alive(int(s.Pid)):
		if !member(int(s.Pid)) {
			return "the sender is not a process of the service"
		}
	case s.Uid != uid && s.Uid != 0:
		return "the sender has ended and was another user"
	}
	return ""
}
