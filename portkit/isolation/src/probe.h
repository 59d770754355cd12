/* What the two files of the probe share. */
#define MARK "portkit-isolation/1" /* answer.py looks for it */
#define MOST_NAMES 24              /* of processes and of devices: a few tell whose they are */

/* A system call that any kernel refuses, with any rights. */
struct call {
    const char *name;
    long number;
    long arguments[6];
};

extern const struct call calls[]; /* ends with one without a name */
