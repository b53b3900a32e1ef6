package keyvault

// setSecret makes a new version of a secret.
func setSecret(q *request) (int, any, error) {
	var in struct {
		Value       *string           `json:"value"`
		ContentType string            `json:"contentType"`
		Attributes  *attributes       `json:"attributes"`
		Tags        map[string]string `json:"tags"`
	}
	if err := q.read(&in); err != nil {
		return 0, nil, err
	}
	switch {
	case in.Value == nil:
		return 0, nil, bad("BadParameter", "The property 'value' is missing.")
	case len(*in.Value) > mostValueBytes:
		return 0, nil, bad("BadParameter", "The secret has %d bytes, and %d are allowed.", len(*in.Value), mostValueBytes)
	case len(in.ContentType) > mostTagBytes:
		return 0, nil, bad("BadParameter", "The content type has %d characters, and %d are allowed.", len(in.ContentType), mostTagBytes)
	}
	v := q.newVersion()
	v.ContentType = in.ContentType
	if err := v.apply(in.Attributes, in.Tags); err != nil {
		return 0, nil, err
	}
	return q.change(secrets, func(h shelf, name string) (bundle, error) {
		o, err := h.add(name, v, []byte(*in.Value), false)
		b := q.show(h, &o, &v, true)
		b.Value = in.Value
		return b, err
	})
}

// newVersion is one that was made now.
func (q *request) newVersion() version {
	now := q.now.Unix()
	return version{ID: newID(), Enabled: true, Created: now, Updated: now}
}

// getSecret shows a secret with its value. One whose time has not come or is over is shown, too: see "Date-time controlled
// operations" in https://learn.microsoft.com/azure/key-vault/secrets/about-secrets.
func getSecret(q *request) (int, any, error) {
	return q.look(secrets, func(h shelf, name string) (bundle, error) {
		o, err := h.live(name)
		if err != nil {
			return bundle{}, err
		}
		v, err := h.version(&o, q.id())
		switch {
		case err != nil:
			return bundle{}, err
		case !v.Enabled:
			return bundle{}, forbidden("SecretDisabled", "Operation get is not allowed on a disabled secret.")
		}
		b := q.show(h, &o, &v, true)
		value, _, err := h.tx.GetSealed(valueBucket, h.key(o.Name, v.ID))
		text := string(value)
		b.Value = &text
		return b, err
	})
}

// updateSecret changes what a version says of itself; its value stays.
func updateSecret(q *request) (int, any, error) {
	var in struct {
		ContentType *string           `json:"contentType"`
		Attributes  *attributes       `json:"attributes"`
		Tags        map[string]string `json:"tags"`
	}
	if err := q.read(&in); err != nil {
		return 0, nil, err
	}
	if in.ContentType != nil && len(*in.ContentType) > mostTagBytes {
		return 0, nil, bad("BadParameter", "The content type has %d characters, and %d are allowed.", len(*in.ContentType), mostTagBytes)
	}
	return q.change(secrets, func(h shelf, name string) (bundle, error) {
		return q.amend(h, name, func(o *object, v *version) error {
			if o.Managed {
				return o.unlike(false)
			}
			if in.ContentType != nil {
				v.ContentType = *in.ContentType
			}
			return v.apply(in.Attributes, in.Tags)
		})
	})
}

// amend changes the version that the path names, the latest without one.
func (q *request) amend(h shelf, name string, change func(o *object, v *version) error) (bundle, error) {
	o, err := h.live(name)
	if err != nil {
		return bundle{}, err
	}
	v, err := h.version(&o, q.id())
	if err != nil {
		return bundle{}, err
	}
	if err := change(&o, &v); err != nil {
		return bundle{}, err
	}
	v.Updated = q.now.Unix()
	return q.show(h, &o, &v, true), h.tx.Put(versionBucket, h.key(o.Name, v.ID), v)
}
