package storage

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/state"
)

// container is a container of blobs.
type container struct {
	Name     string            `json:"name"`
	ID       string            `json:"id"`
	Modified time.Time         `json:"modified"`
	Public   string            `json:"public,omitempty"` // what of it anybody may read: "", "blob", "container"
	Meta     map[string]string `json:"meta,omitempty"`
}

// A Container is what the control plane lists.
type Container struct {
	Name         string
	ETag         string
	Modified     time.Time
	PublicAccess string // "None", "Blob" or "Container"
	Metadata     map[string]string
}

func (c *container) etag() string { return etagOf(c.Modified) }

var isContainerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{1,61})[a-z0-9]$`)

// CheckContainerName takes what Azure takes, but for the folders $root, $logs and $web.
func CheckContainerName(name string) error {
	switch {
	case len(name) < 3 || len(name) > 63:
		return refuse(http.StatusBadRequest, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.")
	case !isContainerName.MatchString(name) || strings.Contains(name, "--"):
		return refuse(http.StatusBadRequest, "InvalidResourceName", "The specified resource name contains invalid characters.")
	}
	return nil
}

var errNoContainer = refuse(http.StatusNotFound, "ContainerNotFound", "The specified container does not exist.")

// CreateContainer makes a container, or changes what is said of the one that is there. Public is "None" or empty, "Blob"
// or "Container".
func (s *Service) CreateContainer(ctx context.Context, account, name, public string, metadata map[string]string) error {
	a, err := s.account(account)
	if err != nil {
		return err
	}
	if strings.EqualFold(public, "None") {
		public = ""
	}
	meta := make(map[string]string)
	for k, v := range metadata {
		meta[strings.ToLower(k)] = v
	}
	if err := checkMetadata(meta); err != nil {
		return err
	}
	_, err = s.putNewContainer(ctx, a, name, strings.ToLower(public), meta, func(old *container) (*container, error) {
		if old.Public != strings.ToLower(public) || !maps.Equal(old.Meta, meta) {
			old.Public, old.Meta, old.Modified = strings.ToLower(public), meta, s.stamp()
		}
		return old, nil
	})
	return err
}

// Container returns one of an account's containers.
func (s *Service) Container(ctx context.Context, account, name string) (Container, error) {
	a, err := s.account(account)
	if err != nil {
		return Container{}, err
	}
	var c *container
	err = s.State.View(ctx, func(tx *state.Tx) (err error) {
		c, err = getContainer(tx, a, name)
		return err
	})
	if err != nil {
		return Container{}, err
	}
	return c.public(), nil
}

func (c *container) public() Container {
	return Container{c.Name, c.etag(), c.Modified, publicName(c.Public), c.Meta}
}

func alreadyThere(*container) (*container, error) {
	return nil, refuse(http.StatusConflict, "ContainerAlreadyExists", "The specified container already exists.")
}

// putNewContainer makes a container. What becomes of one that is there is for again to say.
func (s *Service) putNewContainer(ctx context.Context, a *account, name, public string, meta map[string]string, again func(old *container) (*container, error)) (c *container, err error) {
	if err := CheckContainerName(name); err != nil {
		return nil, err
	}
	switch {
	case public != "" && public != "blob" && public != "container":
		return nil, errHeader("x-ms-blob-public-access")
	case public != "" && !a.AllowBlobPublicAccess:
		return nil, refuse(http.StatusConflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
	}
	err = s.State.Update(ctx, func(tx *state.Tx) error {
		c = new(container)
		ok, err := tx.Get(containerBucket, a.ID+"/"+name, c)
		if err == nil && ok {
			c, err = again(c)
		}
		if err != nil {
			return err
		}
		if !ok {
			c = &container{Name: name, ID: newID(), Modified: s.stamp(), Public: public, Meta: meta}
		}
		if ok, err := tx.Get(accountBucket, a.Name, new(Account)); err != nil || !ok { // it was deleted meanwhile
			return orElse(err, errNoAccount(a.Name))
		}
		return tx.Put(containerBucket, a.ID+"/"+name, c)
	})
	return c, err
}

// DeleteContainer removes a container with its blobs.
func (s *Service) DeleteContainer(ctx context.Context, account, name string) error {
	a, err := s.account(account)
	if err != nil {
		return err
	}
	return s.deleteContainer(ctx, a, name, func(*container) error { return nil })
}

func (s *Service) deleteContainer(ctx context.Context, a *account, name string, check func(*container) error) error {
	var id string
	err := s.State.Update(ctx, func(tx *state.Tx) error {
		c, err := getContainer(tx, a, name)
		if err == nil {
			err = check(c)
		}
		if err != nil {
			return err
		}
		id = c.ID
		return forgetContainer(tx, a.ID, c)
	})
	if err != nil {
		return err
	}
	return s.shelf.removeContainers(id)
}

// Containers lists containers by name, from the first that is not before from. next is where to go on, "" at the end.
func (s *Service) Containers(ctx context.Context, account, from string, most int) (list []Container, next string, err error) {
	a, err := s.account(account)
	if err != nil {
		return nil, "", err
	}
	most = page(most, maxPage)
	err = s.State.View(ctx, func(tx *state.Tx) error {
		return eachContainer(tx, a.ID, from, func(c *container) (bool, error) {
			if len(list) == most {
				next = c.Name
				return false, nil
			}
			list = append(list, c.public())
			return true, nil
		})
	})
	return list, next, err
}

func publicName(p string) string {
	switch p {
	case "blob":
		return "Blob"
	case "container":
		return "Container"
	}
	return "None"
}

func getContainer(tx *state.Tx, a *account, name string) (*container, error) {
	c := new(container)
	ok, err := tx.Get(containerBucket, a.ID+"/"+name, c)
	if err != nil || !ok {
		return nil, orElse(err, errNoContainer)
	}
	return c, nil
}

// eachContainer calls f for an account's containers until it says no.
func eachContainer(tx *state.Tx, account, from string, f func(*container) (more bool, err error)) error {
	prefix := account + "/"
	for e, err := range tx.Scan(containerBucket, prefix, prefix+from) {
		c := new(container)
		if err = errors.Join(err, decode(e, c)); err != nil {
			return err
		}
		if more, err := f(c); err != nil || !more {
			return err
		}
	}
	return nil
}

// forgetContainers removes all containers of an account from the index, and returns their ids.
func forgetContainers(tx *state.Tx, account string) (ids []string, err error) {
	err = eachContainer(tx, account, "", func(c *container) (bool, error) {
		ids = append(ids, c.ID)
		return true, forgetContainer(tx, account, c)
	})
	return ids, err
}

func forgetContainer(tx *state.Tx, account string, c *container) error {
	for _, bucket := range []string{blobBucket, contentBucket, stagedBucket, blockBucket} {
		if err := tx.DeletePrefix(bucket, c.ID+"/"); err != nil {
			return err
		}
	}
	_, err := tx.Delete(containerBucket, account+"/"+c.Name)
	return err
}

const containerActions = "Microsoft.Storage/storageAccounts/blobServices/containers/"

func (s *Service) putContainer(q *request) error {
	if err := q.permit(need{action: containerActions + "write", kind: 'c', perms: "cw"}); err != nil {
		return err
	}
	meta, err := metadataOf(q.r.Header)
	if err != nil {
		return err
	}
	c, err := s.putNewContainer(q.r.Context(), q.account, q.container, q.r.Header.Get("x-ms-blob-public-access"), meta, alreadyThere)
	if err != nil {
		return err
	}
	q.version(c.etag(), c.Modified)
	q.w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Service) showContainer(q *request) error {
	if err := q.permit(need{action: containerActions + "read", kind: 'c', perms: "r", public: "container"}); err != nil {
		return err
	}
	var c *container
	err := s.State.View(q.r.Context(), func(tx *state.Tx) (err error) {
		c, err = getContainer(tx, q.account, q.container)
		return err
	})
	if err != nil {
		return err
	}
	q.version(c.etag(), c.Modified)
	h := q.w.Header()
	for name, value := range c.Meta {
		h.Set("x-ms-meta-"+name, value)
	}
	if c.Public != "" {
		h.Set("x-ms-blob-public-access", c.Public)
	}
	h.Set("x-ms-lease-status", "unlocked")
	h.Set("x-ms-lease-state", "available")
	h.Set("x-ms-has-immutability-policy", "false")
	h.Set("x-ms-has-legal-hold", "false")
	h.Set("x-ms-default-encryption-scope", "$account-encryption-key")
	h.Set("x-ms-deny-encryption-scope-override", "false")
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) setContainerMetadata(q *request) error {
	if err := q.permit(need{action: containerActions + "write", kind: 'c', perms: "w"}); err != nil {
		return err
	}
	meta, err := metadataOf(q.r.Header)
	if err != nil {
		return err
	}
	var c *container
	err = s.State.Update(q.r.Context(), func(tx *state.Tx) (err error) {
		if c, err = getContainer(tx, q.account, q.container); err != nil {
			return err
		}
		if err := q.conditions.write(c.etag(), c.Modified); err != nil {
			return err
		}
		c.Meta, c.Modified = meta, s.stamp()
		return tx.Put(containerBucket, q.account.ID+"/"+c.Name, c)
	})
	if err != nil {
		return err
	}
	q.version(c.etag(), c.Modified)
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) dropContainer(q *request) error {
	if err := q.permit(need{action: containerActions + "delete", kind: 'c', perms: "d"}); err != nil {
		return err
	}
	err := s.deleteContainer(q.r.Context(), q.account, q.container, func(c *container) error {
		return q.conditions.write(c.etag(), c.Modified)
	})
	if err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}
