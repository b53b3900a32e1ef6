package keyvault

import "net/http"

// deleted takes an object out of use; a certificate takes the secret of its name along.
func deleted(kind string) handler {
	return func(q *request) (int, any, error) {
		return q.change(kind, func(h shelf, name string) (bundle, error) {
			o, err := h.live(name)
			if err != nil {
				return bundle{}, err
			}
			if o.Managed {
				return bundle{}, o.unlike(false)
			}
			if err := h.bury(&o); err != nil {
				return bundle{}, err
			}
			if kind == certificates {
				if err := h.secretOf(name, shelf.bury); err != nil {
					return bundle{}, err
				}
			}
			return q.showLatest(h, &o)
		})
	}
}

// buried shows what is deleted and can be recovered.
func buried(kind string) handler {
	return func(q *request) (int, any, error) {
		return q.look(kind, func(h shelf, name string) (bundle, error) {
			o, err := h.gone(name)
			if err != nil {
				return bundle{}, err
			}
			return q.showLatest(h, &o)
		})
	}
}

// recovered undoes deleted.
func recovered(kind string) handler {
	return func(q *request) (int, any, error) {
		return q.change(kind, func(h shelf, name string) (bundle, error) {
			o, err := h.gone(name)
			if err != nil {
				return bundle{}, err
			}
			if o.Managed {
				return bundle{}, o.unlike(false)
			}
			if err := h.recover(&o); err != nil {
				return bundle{}, err
			}
			if kind == certificates {
				if err := h.secretOf(name, shelf.recover); err != nil {
					return bundle{}, err
				}
			}
			return q.showLatest(h, &o)
		})
	}
}

// purged removes for good what is deleted.
func purged(kind string) handler {
	return func(q *request) (int, any, error) {
		_, _, err := q.change(kind, func(h shelf, name string) (bundle, error) {
			o, err := h.gone(name)
			switch {
			case err != nil:
				return bundle{}, err
			case o.Managed:
				return bundle{}, o.unlike(false)
			case q.vault.Protected:
				return bundle{}, forbidden("ForbiddenByPolicy", "Operation \"purge\" is not allowed because purge protection is enabled for this vault.")
			}
			if kind == certificates {
				if err := h.of(secrets).purge(name); err != nil {
					return bundle{}, err
				}
			}
			return bundle{}, h.purge(name)
		})
		return http.StatusNoContent, nil, err
	}
}

// secretOf does to the secret of a certificate what is done to the certificate.
func (h shelf) secretOf(name string, do func(shelf, *object) error) error {
	s := h.of(secrets)
	o, ok, err := s.get(name)
	if err != nil || !ok {
		return err
	}
	return do(s, &o)
}

// showLatest shows an object by its latest version, without a value.
func (q *request) showLatest(h shelf, o *object) (bundle, error) {
	v, err := h.version(o, "")
	return q.show(h, o, &v, true), err
}
