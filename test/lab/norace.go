//go:build !race

package lab

// Race reports whether this program was built with the race detector.
const Race = false
