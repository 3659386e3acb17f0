package logring

// Priority is the priority of a syslog message (PRI of RFC 5424, section 6.2.1) plus one, so that 0, which is what records
// of older arenas have in its place, means that there is none.
type Priority uint8

// MakePriority makes one of a facility (0 to 23) and a severity (0 to 7); anything else gives 0.
func MakePriority(facility, severity int) Priority {
	if facility < 0 || facility >= len(facilities) || severity < 0 || severity >= len(severities) {
		return 0
	}
	return Priority(facility<<3 | severity + 1)
}

// PRI is the number of RFC 5424, false when there is none.
func (p Priority) PRI() (n int, ok bool) { return int(p) - 1, p > 0 && int(p) <= len(facilities)<<3 }

// Severity is its keyword in syslog.conf(5), from "emerg" to "debug", "" when there is none.
func (p Priority) Severity() string {
	if n, ok := p.PRI(); ok {
		return severities[n&7]
	}
	return ""
}

// Facility is its keyword in syslog.conf(5), "" when there is none.
func (p Priority) Facility() string {
	if n, ok := p.PRI(); ok {
		return facilities[n>>3]
	}
	return ""
}

// The keywords of syslog.conf(5); 12 to 15, which it does not have, as Vector's syslog source calls them.
var (
	severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	facilities = [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "alert", "clockd",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
)
