package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// lingerAfterParent is how long a child may take to end once its parent is gone.
const lingerAfterParent = 2 * time.Second

// An Inheritance is what a supervised child got from its parent.
type Inheritance struct {
	files map[string]*os.File
}

// Inherit takes over what EnvInherited in the environment names, and closes descriptors that came along by accident,
// so call it before anything else opens files. A process that was started by hand inherits nothing:
// then Inherit returns nil, which Lifetime and Ready accept.
func Inherit(getenv func(string) string) (*Inheritance, error) {
	list := getenv(EnvInherited)
	if list == "" {
		return nil, nil
	}
	in := &Inheritance{files: map[string]*os.File{}}
	seen := map[int]bool{}
	for entry := range strings.SplitSeq(list, ",") {
		name, number, _ := strings.Cut(entry, "=")
		fd, err := strconv.Atoi(number)
		if err != nil || name == "" || fd < 3 || seen[fd] || in.files[name] != nil {
			in.close()
			return nil, fmt.Errorf("%s: bad entry %q", EnvInherited, entry)
		}
		f, err := inheritFD(fd, name)
		if err != nil {
			in.close()
			return nil, fmt.Errorf("%s: descriptor %d (%s): %w", EnvInherited, fd, name, err)
		}
		seen[fd], in.files[name] = true, f
	}
	closeStrangers()
	return in, nil
}

func (in *Inheritance) close() {
	for _, f := range in.files {
		f.Close()
	}
}

// File returns the inherited file of that name, or nil. It belongs to the caller.
func (in *Inheritance) File(name string) *os.File {
	if in == nil {
		return nil
	}
	return in.files[name]
}

// Lifetime returns a context that ends, with cause ErrParentGone, when the parent process is gone, however it went.
// The process is killed if it is still there two seconds later. stop ends the watch.
func (in *Inheritance) Lifetime(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	pipe := in.File(lifetimeName)
	if pipe == nil {
		return ctx, func() { cancel(nil) }
	}
	stopped := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := pipe.Read(make([]byte, 1)) // nobody writes: what comes is the end
		if errors.Is(err, os.ErrClosed) {
			return
		}
		cancel(ErrParentGone)
		select {
		case <-stopped:
		case <-time.After(lingerAfterParent):
			killSelf()
		}
	}()
	return ctx, func() {
		close(stopped)
		pipe.Close()
		<-done
		cancel(nil)
	}
}

// Ready tells the parent that this process serves. payload is sent as JSON. Call it once.
func (in *Inheritance) Ready(payload any) error {
	pipe := in.File(readyName)
	if pipe == nil {
		return nil
	}
	defer pipe.Close()
	line, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	if _, err := pipe.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	return nil
}

func killSelf() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		self.Kill()
	}
}
