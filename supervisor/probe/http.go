package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/zinit/zinit/graph"
)

// bodyMax is how much of an answer is read at most. What a check looks at is the status; the beginning of the body is
// shown when that is wrong.
const bodyMax = 4096

// headerMax bounds the header of an answer.
const headerMax = 64 << 10

// runHTTP sends a GET without a proxy, follows no redirect, and compares the status.
func runHTTP(ctx context.Context, h *graph.Health) (bool, string) {
	target := h.Target
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return false, fmt.Sprintf("GET %s: %v", target, cause(err))
	}
	target = request.URL.Redacted()
	if user := request.URL.User; user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	request.Header.Set("User-Agent", "zinit-health")
	request.Header.Set("Accept", "*/*")
	request.Close = true
	transport := newTransport(h)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return false, fmt.Sprintf("GET %s: %s", target, reason(ctx, h, cause(err)))
	}
	defer response.Body.Close()
	if expected(h.ExpectStatus, response.StatusCode) {
		return true, "GET " + target + " answered " + response.Status
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, bodyMax))
	got := fmt.Sprintf("GET %s answered %d, want %s", target, response.StatusCode, want(h.ExpectStatus))
	return false, withOutput(got, firstLine(body))
}

// newTransport is used for one request: no proxy, no kept connection, nothing that outlives the check. A RoundTrip
// follows no redirect.
func newTransport(h *graph.Health) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: headerMax,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: !h.TLSVerify}, //nolint:gosec // tls_verify = false was asked for
	}
}

// cause strips the method and address that net/http adds.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func expected(ranges []graph.StatusRange, code int) bool {
	if len(ranges) == 0 {
		return code == http.StatusOK
	}
	for _, r := range ranges {
		if code >= r.Low && code <= r.High {
			return true
		}
	}
	return false
}

// want writes the expected codes: "200", "200, 204", "2xx", "200-204".
func want(ranges []graph.StatusRange) string {
	if len(ranges) == 0 {
		return "200"
	}
	words := make([]string, len(ranges))
	for i, r := range ranges {
		switch {
		case r.Low == r.High:
			words[i] = strconv.Itoa(r.Low)
		case r.Low%100 == 0 && r.High == r.Low+99:
			words[i] = strconv.Itoa(r.Low/100) + "xx"
		default:
			words[i] = strconv.Itoa(r.Low) + "-" + strconv.Itoa(r.High)
		}
	}
	return strings.Join(words, ", ")
}

// firstLine is the first line of a body, unless that is markup.
func firstLine(body []byte) string {
	text := strings.TrimSpace(string(body))
	line, _, _ := strings.Cut(text, "\n")
	if strings.HasPrefix(line, "<") {
		return ""
	}
	return strings.TrimSpace(line)
}
