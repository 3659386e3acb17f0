package probe

import (
	"net"
	"net/url"
	"strconv"

	"github.com/zinit/zinit/graph"
)

// LocalPort is the port that a tcp or http check connects to, when its address is one of loopback.
func LocalPort(h *graph.Health) (port uint16, local bool) {
	host, text := "", ""
	switch h.Type {
	case graph.HealthTCP:
		host, text, _ = net.SplitHostPort(h.Target)
	case graph.HealthHTTP:
		u, err := url.Parse(h.Target)
		if err != nil {
			return 0, false
		}
		if host, text = u.Hostname(), u.Port(); text == "" {
			text = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
	}
	n, err := strconv.ParseUint(text, 10, 16)
	ip := net.ParseIP(host)
	return uint16(n), err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
