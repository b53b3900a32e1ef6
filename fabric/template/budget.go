package template

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/causeway-gateway/causeway/fabric/document"
)

// A few lines of template can ask for more than a machine has: strings that double, loops within loops. So a value is no
// larger than a template may be, and all of an expansion has a bound, in parts of values and in their bytes.
const (
	maxValueBytes = 4 << 20
	maxWork       = 2_000_000
	bytesPerWork  = 64
)

var (
	errTooLarge = fmt.Errorf("a value has more than %d bytes", maxValueBytes)
	errTooMuch  = errors.New("the template asks for too much to be evaluated")
)

// A budget is what is left of an expansion's bound. Resources may be evaluated at the same time.
type budget struct{ spent atomic.Int64 }

// spend takes one part of the bound.
func (b *budget) spend() error {
	if b.spent.Add(1) > maxWork {
		return errTooMuch
	}
	return nil
}

// hold bounds values, and takes their size.
func (b *budget) hold(values ...any) error {
	n := 0
	for _, v := range values {
		if n += document.Size(v, maxValueBytes-n); n >= maxValueBytes {
			return errTooLarge
		}
	}
	if b.spent.Add(int64(n/bytesPerWork)) > maxWork {
		return errTooMuch
	}
	return nil
}

// fits bounds a string before it is made: times of n bytes each, besides others.
func fits(others, times, n int) error {
	if n > 0 && times > (maxValueBytes-min(others, maxValueBytes))/n {
		return errTooLarge
	}
	return nil
}
