package storage

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A lease keeps others from changing a blob.
type lease struct {
	ID       string        `json:"id"`
	Duration time.Duration `json:"duration"` // 0 for one without end
	Until    time.Time     `json:"until"`    // of one with an end
	Broken   *time.Time    `json:"broken"`   // when it ends or has ended by being broken
}

// States of leases, as Azure names them.
const (
	available = "available"
	leased    = "leased"
	expired   = "expired"
	breaking  = "breaking"
	broken    = "broken"
)

func (l *lease) state(now time.Time) string {
	switch {
	case l == nil:
		return available
	case l.Broken != nil && now.Before(*l.Broken):
		return breaking
	case l.Broken != nil:
		return broken
	case l.Duration > 0 && !now.Before(l.Until):
		return expired
	}
	return leased
}

func leaseStatus(state string) string {
	if state == leased || state == breaking {
		return "locked"
	}
	return "unlocked"
}

func (l *lease) kind() string {
	if l.Duration == 0 {
		return "infinite"
	}
	return "fixed"
}

// checkLease lets a writer pass that holds the lease, if there is one.
func checkLease(b *blob, id string, now time.Time) error {
	var l *lease
	if b != nil {
		l = b.Lease
	}
	locked := leaseStatus(l.state(now)) == "locked"
	switch {
	case locked && id == "":
		return refuse(http.StatusPreconditionFailed, "LeaseIdMissing", "There is currently a lease on the blob and no lease ID was specified in the request.")
	case locked && id != l.ID:
		return refuse(http.StatusPreconditionFailed, "LeaseIdMismatchWithBlobOperation", "The lease ID specified did not match the lease ID for the blob.")
	case !locked && id != "" && l != nil && id == l.ID:
		return refuse(http.StatusPreconditionFailed, "LeaseLost", "A lease ID was specified, but the lease for the blob has expired.")
	case !locked && id != "":
		return refuse(http.StatusPreconditionFailed, "LeaseNotPresentWithBlobOperation", "There is currently no lease on the blob.")
	}
	return nil
}

// checkLeaseToRead holds a reader to the lease that it names.
func checkLeaseToRead(b *blob, id string, now time.Time) error {
	if id == "" {
		return nil
	}
	return checkLease(b, id, now)
}

// dropEndedLease makes that a lease that has ended cannot be renewed after somebody has written.
func (b *blob) dropEndedLease(now time.Time) {
	if leaseStatus(b.Lease.state(now)) == "unlocked" {
		b.Lease = nil
	}
}

var (
	errLeased        = refuse(http.StatusConflict, "LeaseAlreadyPresent", "There is already a lease present.")
	errLeaseMismatch = refuse(http.StatusConflict, "LeaseIdMismatchWithLeaseOperation", "The lease ID specified did not match the lease ID for the blob.")
	errNoLease       = refuse(http.StatusConflict, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the blob.")
)

// leaseBlob carries out one of the five actions on a lease.
func (s *Service) leaseBlob(q *request) error {
	if err := q.permit(needWrite); err != nil {
		return err
	}
	action := strings.ToLower(q.r.Header.Get("x-ms-lease-action"))
	if action == "break" {
		return s.breakLease(q)
	}
	act, err := q.leaseAction(action)
	if err != nil {
		return err
	}
	b, err := s.change(q, act)
	if err != nil {
		return err
	}
	q.version(b.etag(), b.Modified)
	if b.Lease != nil {
		q.w.Header().Set("x-ms-lease-id", b.Lease.ID)
	}
	status := http.StatusOK
	if action == "acquire" {
		status = http.StatusCreated
	}
	q.w.WriteHeader(status)
	return nil
}

// leaseAction returns what an action does with a blob.
func (q *request) leaseAction(action string) (func(b *blob, now time.Time) error, error) {
	held := q.conditions.lease
	proposed := strings.ToLower(q.r.Header.Get("x-ms-proposed-lease-id"))
	if proposed != "" && !azure.IsGUID(proposed) {
		return nil, errHeader("x-ms-proposed-lease-id")
	}
	switch action {
	case "acquire":
		d, err := leaseDuration(q.r.Header.Get("x-ms-lease-duration"))
		return func(b *blob, now time.Time) error { return b.acquire(proposed, d, now) }, err
	case "renew":
		return func(b *blob, now time.Time) error { return b.renew(held, now) }, nil
	case "change":
		if proposed == "" {
			return nil, errHeader("x-ms-proposed-lease-id")
		}
		return func(b *blob, now time.Time) error { return b.changeLease(held, proposed, now) }, nil
	case "release":
		return func(b *blob, now time.Time) error { return b.release(held) }, nil
	}
	return nil, errHeader("x-ms-lease-action")
}

// leaseDuration reads 15 to 60 seconds, or -1 for no end, which is 0 here.
func leaseDuration(text string) (time.Duration, error) {
	n, err := strconv.Atoi(text)
	switch {
	case err == nil && n == -1:
		return 0, nil
	case err != nil || n < 15 || n > 60:
		return 0, errHeader("x-ms-lease-duration")
	}
	return time.Duration(n) * time.Second, nil
}

func (b *blob) acquire(proposed string, d time.Duration, now time.Time) error {
	switch b.Lease.state(now) {
	case leased:
		if proposed != b.Lease.ID {
			return errLeased
		}
	case breaking:
		if proposed == b.Lease.ID {
			return refuse(http.StatusConflict, "LeaseIsBreakingAndCannotBeAcquired", "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until it is broken.")
		}
		return errLeased
	}
	if proposed == "" {
		proposed = azure.NewGUID()
	}
	b.Lease = &lease{ID: proposed, Duration: d, Until: now.Add(d).UTC()}
	return nil
}

func (b *blob) renew(id string, now time.Time) error {
	switch state := b.Lease.state(now); {
	case state == available || id != b.Lease.ID:
		return errLeaseMismatch
	case state == breaking || state == broken:
		return refuse(http.StatusConflict, "LeaseIsBrokenAndCannotBeRenewed", "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.")
	}
	b.Lease.Until = now.Add(b.Lease.Duration).UTC()
	return nil
}

func (b *blob) changeLease(id, proposed string, now time.Time) error {
	switch state := b.Lease.state(now); {
	case state != leased && state != breaking:
		return errNoLease
	case id != b.Lease.ID && proposed != b.Lease.ID:
		return errLeaseMismatch
	case state == breaking:
		return refuse(http.StatusConflict, "LeaseIsBreakingAndCannotBeChanged", "The lease ID matched, but the lease is currently in breaking state and cannot be changed.")
	}
	b.Lease.ID = proposed
	return nil
}

func (b *blob) release(id string) error {
	if b.Lease == nil || id != b.Lease.ID {
		return errLeaseMismatch
	}
	b.Lease = nil
	return nil
}

// breakLease ends a lease after a while, at most after what is left of it, and tells how long that is.
func (s *Service) breakLease(q *request) error {
	period := time.Duration(-1)
	if text := q.r.Header.Get("x-ms-lease-break-period"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 60 {
			return errHeader("x-ms-lease-break-period")
		}
		period = time.Duration(n) * time.Second
	}
	var left time.Duration
	b, err := s.change(q, func(b *blob, now time.Time) (err error) {
		left, err = b.breakLease(period, now)
		return err
	})
	if err != nil {
		return err
	}
	q.version(b.etag(), b.Modified)
	q.w.Header().Set("x-ms-lease-time", strconv.Itoa(int((left+time.Second-1)/time.Second)))
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (b *blob) breakLease(period time.Duration, now time.Time) (left time.Duration, err error) {
	l := b.Lease
	switch l.state(now) {
	case available:
		return 0, errNoLease
	case broken:
		return 0, nil
	case breaking:
		left = l.Broken.Sub(now)
	case leased:
		if l.Duration > 0 {
			left = l.Until.Sub(now)
		} else {
			left = max(period, 0)
		}
	}
	if period >= 0 {
		left = min(left, period)
	}
	end := now.Add(left).UTC()
	l.Broken = &end
	return left, nil
}
