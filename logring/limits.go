package logring

// The sizes, in bytes unless named otherwise.
const (
	// MaxLine is the longest line; a longer one is cut, never within a UTF-8 character, and the pieces before the last are
	// marked Continued.
	MaxLine = 64 << 10
	// MaxRead is the most that one Begin takes: the size of staging, and of a pipe.
	MaxRead = 64 << 10

	// DefaultLines and DefaultBytes hold for a ring whose Limits are zero.
	DefaultLines = 1000
	DefaultBytes = 256 << 10

	// MinTotal and MaxTotal bound the arena. MaxTotal is what a table entry and the mapping of a 32 bit machine can bear.
	MinTotal = 1 << 20
	MaxTotal = 1 << 30

	// MaxName is the longest service name; the configuration allows 128.
	MaxName = 200

	unitSize   = 1 << 10 // the grain of allocation: what a service with one line costs
	maxPage    = 64 << 10
	pagesRing  = 8          // a full ring has about so many pages; one of them is given up at a time
	holdSlack  = 1 << 20    // a held ring may exceed its bytes by so much (see Ring.SetHold)
	scanBytes  = 256 << 10  // the most text one Read returns
	maxMarks   = 8          // per ring
	pageMagic  = 0x50474c5a // "ZLGP"
	partMagic  = 0x54504c5a // "ZLPT"
	superMagic = 0x314e4552414c5a7a
	version    = 1
)
