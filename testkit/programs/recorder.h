/* What a truth program may tell its recorder. Without a recorder the calls do nothing. */
#ifndef RECORDER_H
#define RECORDER_H

#ifdef __cplusplus
extern "C" {
#endif

/* Notes a number with a live allocation: what it is, or that the program drops it. */
__attribute__((weak)) void recorder_label(const void *memory, unsigned label);

/* Notes a number with every allocation from now on, of any thread. */
__attribute__((weak)) void recorder_scope(unsigned label);

#define RECORDER_SCOPE(label) \
    do { \
        if (recorder_scope) recorder_scope(label); \
    } while (0)

#define RECORDER_LABEL(memory, label) \
    do { \
        if (recorder_label) recorder_label((memory), (label)); \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
