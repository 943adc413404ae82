// SPDX-License-Identifier: Apache-2.0
// The EDF queue. The most urgent entries lie sorted in an array, which is the window that policies look through; all
// others wait in a binary heap, and one moves up for each that leaves. With deadlines that agree with arrivals a push is
// an append. A second heap orders the same entries by the time when they can no longer be met, a third by their order alone.
#include <gamut/sched.h>

#include <string.h>

typedef struct item {
    int64_t key;
    uint64_t order;
    int32_t ticket;
} item;
typedef struct heap {
    item *at;         // [count]
    int32_t *place;   // [capacity]: where a ticket lies, -1 elsewhere
    int count;
} heap;

struct gm_queue {
    int capacity, length;
    int begin, shown;      // the window within front
    gm_waiting *front;     // [2 * GM_QUEUE_FRONT]: slides to the right, then back to the start
    gm_request *request;   // [capacity], by ticket
    int32_t *free;         // stack of free tickets
    bool *used;
    heap later, expiry, last;
};

static bool before(int64_t key, uint64_t order, const item *b) {
    return key != b->key ? key < b->key : order < b->order;
}

static void heap_put(heap *h, int place, item it) {
    h->at[place] = it;
    h->place[it.ticket] = place;
}

static void heap_up(heap *h, int place, item it) {
    while (place > 0) {
        int parent = (place - 1) / 2;
        if (!before(it.key, it.order, &h->at[parent])) break;
        heap_put(h, place, h->at[parent]);
        place = parent;
    }
    heap_put(h, place, it);
}

static void heap_down(heap *h, int place, item it) {
    for (int child = 2 * place + 1; child < h->count; child = 2 * place + 1) {
        if (child + 1 < h->count && before(h->at[child + 1].key, h->at[child + 1].order, &h->at[child])) child++;
        if (!before(h->at[child].key, h->at[child].order, &it)) break;
        heap_put(h, place, h->at[child]);
        place = child;
    }
    heap_put(h, place, it);
}

static void heap_push(heap *h, item it) {
    heap_up(h, h->count++, it);
}

static item heap_remove(heap *h, int place) {
    item gone = h->at[place], last = h->at[--h->count];
    h->place[gone.ticket] = -1;
    if (place < h->count) {
        if (place > 0 && before(last.key, last.order, &h->at[(place - 1) / 2]))
            heap_up(h, place, last);
        else
            heap_down(h, place, last);
    }
    return gone;
}

static bool heap_init(heap *h, int capacity) {
    h->at = gm_alloc((size_t)capacity, sizeof *h->at);
    h->place = gm_alloc((size_t)capacity, sizeof *h->place);
    for (int i = 0; h->place != NULL && i < capacity; i++) h->place[i] = -1;
    return h->at != NULL && h->place != NULL;
}

gm_status gm_queue_create(int capacity, gm_queue **out, gm_error *err) {
    *out = NULL;
    if (capacity < 1 || capacity > 100000000)
        return gm_fail(err, GM_ERR_RANGE, "queue: capacity %d is not in 1 to 100000000", capacity);
    gm_queue *q = gm_alloc(1, sizeof *q);
    if (q == NULL) return gm_fail(err, GM_ERR_MEMORY, "queue: out of memory");
    size_t n = (size_t)capacity;
    q->capacity = capacity;
    q->front = gm_alloc((size_t)(2 * GM_QUEUE_FRONT), sizeof *q->front);
    q->request = gm_alloc(n, sizeof *q->request);
    q->free = gm_alloc(n, sizeof *q->free);
    q->used = gm_alloc(n, sizeof *q->used);
    if (!heap_init(&q->later, capacity) || !heap_init(&q->expiry, capacity) || !heap_init(&q->last, capacity) || !q->front ||
        !q->request || !q->free || !q->used) {
        gm_queue_destroy(q);
        return gm_fail(err, GM_ERR_MEMORY, "queue: no memory for %d requests", capacity);
    }
    for (int i = 0; i < capacity; i++) q->free[i] = capacity - 1 - i;
    *out = q;
    return GM_OK;
}

void gm_queue_destroy(gm_queue *q) {
    if (q == NULL) return;
    gm_free(q->front);
    gm_free(q->request);
    gm_free(q->free);
    gm_free(q->used);
    gm_free(q->later.at);
    gm_free(q->later.place);
    gm_free(q->expiry.at);
    gm_free(q->expiry.place);
    gm_free(q->last.at);
    gm_free(q->last.place);
    gm_free(q);
}

int gm_queue_length(const gm_queue *q) {
    return q->length;
}

static bool sooner(const gm_waiting *a, const gm_waiting *b) {
    return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : a->order < b->order;
}

// Puts an entry into the window, which has room. Most go to its end.
static void show(gm_queue *q, gm_waiting w) {
    if (q->begin + q->shown == 2 * GM_QUEUE_FRONT) {
        memmove(q->front, q->front + q->begin, (size_t)q->shown * sizeof *q->front);
        q->begin = 0;
    }
    gm_waiting *base = q->front + q->begin;
    int at = q->shown++;
    for (; at > 0 && sooner(&w, &base[at - 1]); at--) base[at] = base[at - 1];
    base[at] = w;
}

static void refill(gm_queue *q) {
    if (q->shown == GM_QUEUE_FRONT || q->later.count == 0) return;
    item it = heap_remove(&q->later, 0);
    show(q, (gm_waiting){it.key, it.order, q->request[it.ticket].least, it.ticket});
}

int gm_queue_push(gm_queue *q, const gm_request *request) {
    if (q->length == q->capacity) return -1;
    int ticket = q->free[q->capacity - 1 - q->length++];
    gm_waiting w = {request->deadline_ns, request->order, request->least, ticket};
    q->request[ticket] = *request;
    q->used[ticket] = true;
    heap_push(&q->expiry, (item){request->expiry_ns, request->order, ticket});
    heap_push(&q->last, (item){0, UINT64_MAX - request->order, ticket});
    const gm_waiting *last = q->front + q->begin + q->shown - 1;
    if (q->shown == GM_QUEUE_FRONT && sooner(&w, last)) {
        heap_push(&q->later, (item){last->deadline_ns, last->order, last->ticket});
        q->shown--;
        show(q, w);
    } else if (q->shown < GM_QUEUE_FRONT) { // then nothing lies in the heap
        show(q, w);
    } else {
        heap_push(&q->later, (item){w.deadline_ns, w.order, ticket});
    }
    return ticket;
}

static void leave(gm_queue *q, int ticket, gm_request *out) {
    heap_remove(&q->expiry, q->expiry.place[ticket]);
    heap_remove(&q->last, q->last.place[ticket]);
    if (out != NULL) *out = q->request[ticket];
    q->used[ticket] = false;
    q->free[q->capacity - q->length--] = ticket;
}

bool gm_queue_pop(gm_queue *q, gm_request *out) {
    if (q->length == 0) return false;
    int ticket = q->front[q->begin++].ticket;
    q->shown--;
    leave(q, ticket, out);
    refill(q);
    return true;
}

bool gm_queue_cancel(gm_queue *q, int ticket, gm_request *out) {
    if (ticket < 0 || ticket >= q->capacity || !q->used[ticket]) return false;
    int place = q->later.place[ticket];
    if (place >= 0) {
        heap_remove(&q->later, place);
    } else {
        gm_waiting *base = q->front + q->begin;
        int at = 0;
        while (base[at].ticket != ticket) at++;
        q->shown--;
        memmove(base + at, base + at + 1, (size_t)(q->shown - at) * sizeof *base);
        refill(q);
    }
    leave(q, ticket, out);
    return true;
}

const gm_waiting *gm_queue_front(const gm_queue *q, int *shown) {
    *shown = q->shown;
    return q->front + q->begin;
}

const gm_request *gm_queue_request(const gm_queue *q, int ticket) {
    return ticket >= 0 && ticket < q->capacity && q->used[ticket] ? &q->request[ticket] : NULL;
}

int gm_queue_expiry(const gm_queue *q) {
    return q->length > 0 ? q->expiry.at[0].ticket : -1;
}

int gm_queue_last(const gm_queue *q) {
    return q->length > 0 ? q->last.at[0].ticket : -1;
}

void gm_queue_expire_at(gm_queue *q, int ticket, int64_t expiry_ns) {
    if (gm_queue_request(q, ticket) == NULL) return;
    q->request[ticket].expiry_ns = expiry_ns;
    item it = heap_remove(&q->expiry, q->expiry.place[ticket]);
    it.key = expiry_ns;
    heap_push(&q->expiry, it);
}
