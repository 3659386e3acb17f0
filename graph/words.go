package graph

import (
	"errors"
	"strconv"
	"strings"
)

// word finds a word of an enumeration; the index of the word is its value.
func word[T ~uint8](words []string, given string) (T, error) {
	for i, w := range words {
		if w == given {
			return T(i), nil
		}
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	last := len(quoted) - 1
	return 0, errors.New("want " + strings.Join(quoted[:last], ", ") + " or " + quoted[last] + ", not " + strconv.Quote(given))
}

func wordOf[T ~uint8](words []string, value T) string {
	if int(value) < len(words) {
		return words[value]
	}
	return "?"
}

var (
	classWords     = []string{"user", "system"}
	statusWords    = []string{"start", "stop", "ignore"}
	restartWords   = []string{"on-failure", "always", "never"}
	killModeWords  = []string{"control-group", "mixed", "process"}
	onExitWords    = []string{"continue", "shutdown"}
	healthWords    = []string{"tcp", "http", "exec"}
	envFormatWords = []string{"dotenv", "sh", "systemd"}
	methodWords    = []string{"GET", "HEAD"}
	dirKeys        = []string{"runtime_dir", "state_dir", "cache_dir", "logs_dir"}
	fileFormats    = []string{"plain", "time", "json"}
	readyKindWords = []string{"none", "notify", "fd"}
)

// ClassWords, StatusWords and so on return the words of an enumeration as the file takes them.
func ClassWords() []string { return classWords }

// StatusWords are the values of status.
func StatusWords() []string { return statusWords }

// RestartWords are the values of restart.
func RestartWords() []string { return restartWords }

// KillModeWords are the values of kill_mode.
func KillModeWords() []string { return killModeWords }

// OnExitWords are the values of on_exit.
func OnExitWords() []string { return onExitWords }

// MethodWords are the values of the health section's method.
func MethodWords() []string { return methodWords }

// HealthWords are the values of the health section's type.
func HealthWords() []string { return healthWords }

// String returns the word of the file.
func (c Class) String() string { return wordOf(classWords, c) }

// ParseClass reads "user" or "system".
func ParseClass(s string) (Class, error) { return word[Class](classWords, s) }

// String returns the word of the file.
func (s Status) String() string { return wordOf(statusWords, s) }

// ParseStatus reads "start", "stop" or "ignore".
func ParseStatus(s string) (Status, error) { return word[Status](statusWords, s) }

// String returns the word of the file.
func (r Restart) String() string { return wordOf(restartWords, r) }

// ParseRestart reads "on-failure" (also "on_failure"), "always" or "never".
func ParseRestart(s string) (Restart, error) {
	if s == "on_failure" {
		return RestartOnFailure, nil
	}
	return word[Restart](restartWords, s)
}

// String returns the word of the file.
func (o OnExit) String() string { return wordOf(onExitWords, o) }

// String returns the word of the file.
func (k KillMode) String() string { return wordOf(killModeWords, k) }

// ParseKillMode reads "control-group" (also "group"), "mixed" or "process".
func ParseKillMode(s string) (KillMode, error) {
	if s == "group" {
		return KillControlGroup, nil
	}
	return word[KillMode](killModeWords, s)
}

// ParseOnExit reads "continue" or "shutdown".
func ParseOnExit(s string) (OnExit, error) { return word[OnExit](onExitWords, s) }

// String returns the word of the file.
func (h HealthType) String() string { return wordOf(healthWords, h) }

func (h HealthMethod) String() string { return wordOf(methodWords, h) }

// ParseHealthMethod reads "GET" or "HEAD".
func ParseHealthMethod(s string) (HealthMethod, error) { return word[HealthMethod](methodWords, s) }

// ParseHealthType reads "tcp", "http" or "exec".
func ParseHealthType(s string) (HealthType, error) { return word[HealthType](healthWords, s) }

// EnvFormatWords are the values of env_file_format.
func EnvFormatWords() []string { return envFormatWords }

// String returns the word of the file.
func (f EnvFormat) String() string { return wordOf(envFormatWords, f) }

// ParseEnvFormat reads "dotenv", "sh" or "systemd".
func ParseEnvFormat(s string) (EnvFormat, error) { return word[EnvFormat](envFormatWords, s) }

// FileFormatWords are the values of file_format.
func FileFormatWords() []string { return fileFormats }

// String returns the word of the file.
func (f FileFormat) String() string { return wordOf(fileFormats, f) }

// ParseFileFormat reads "plain", "time" or "json".
func ParseFileFormat(s string) (FileFormat, error) { return word[FileFormat](fileFormats, s) }

// String returns "none", "notify" or "fd".
func (k ReadyKind) String() string { return wordOf(readyKindWords, k) }

// ParseReadyKind reads "none", "notify" or "fd".
func ParseReadyKind(s string) (ReadyKind, error) { return word[ReadyKind](readyKindWords, s) }

// String returns the value of the ready key: "notify", "fd:N" or "".
func (r Ready) String() string {
	switch r.Kind {
	case ReadyNotify:
		return "notify"
	case ReadyFD:
		return "fd:" + strconv.Itoa(r.FD)
	}
	return ""
}

// maxReadyFD bounds the descriptor number of ready = "fd:N": the default soft limit of open files.
const maxReadyFD = 1023

// ParseReady reads "notify" or "fd:N" with N from 3 to 1023.
func ParseReady(s string) (Ready, error) {
	if s == "notify" {
		return Ready{Kind: ReadyNotify}, nil
	}
	if digits, ok := strings.CutPrefix(s, "fd:"); ok {
		n, err := strconv.Atoi(digits)
		if err == nil && n >= 3 && n <= maxReadyFD {
			return Ready{Kind: ReadyFD, FD: n}, nil
		}
	}
	return Ready{}, errors.New(`want "notify" or "fd:N" with N from 3 to 1023, not ` + strconv.Quote(s))
}
